//! `/openapi.json`: every door, what it takes and what it answers with, from one table.

mod doors;
mod schemas;

use axum::body::Body;
use axum::http::Response;
use serde_json::{Map, Value, json};

use crate::answer;
pub use doors::DOORS;
use doors::{Door, Gives, Takes};

/// `GET /openapi.json`.
pub async fn document() -> Response<Body> {
    answer::json(&whole())
}

fn whole() -> Value {
    let mut paths = Map::new();
    for door in DOORS {
        paths.entry(door.path).or_insert_with(|| json!({}))[door.method] = operation(door);
    }
    let problem = json!({
        "type": "object", "required": ["error"],
        "properties": {
            "error": {
                "type": "object", "required": ["message"],
                "properties": {
                    "message": { "type": "string" }, "setting": { "type": ["string", "null"] },
                    "hint": { "type": ["string", "null"] }, "type": { "type": "string" },
                    "param": { "type": ["string", "null"] }, "code": { "type": ["string", "null"] },
                },
            },
            "detail": { "type": "string" },
        },
    });
    json!({
        "openapi": "3.1.0",
        "info": { "title": "Calotype", "version": env!("CARGO_PKG_VERSION"),
                  "description": "docs/server.md explains it, with a curl line for every door." },
        "paths": paths,
        "components": {
            "schemas": { "Problem": problem },
            "securitySchemes": { "token": { "type": "http", "scheme": "bearer" } },
        },
        "security": [{}, { "token": [] }],
    })
}

fn operation(door: &Door) -> Value {
    let in_path = door.path.split('{').skip(1).filter_map(|rest| rest.split('}').next());
    let in_path = in_path.map(|name| {
        let kind = if name == "picture" {
            json!({ "type": "integer", "minimum": 0 })
        } else {
            json!({ "type": "string" })
        };
        json!({ "name": name, "in": "path", "required": true, "schema": kind })
    });
    let in_query = door.query.iter().map(|(name, kind, required)| {
        json!({ "name": name, "in": "query", "required": required, "schema": { "type": kind } })
    });
    let (status, content) = match door.gives {
        Gives::Json => ("200", json!({ "application/json": {} })),
        Gives::Accepted => ("202", json!({ "application/json": {} })),
        Gives::Nothing => ("204", Value::Null),
        Gives::File(kind) => ("200", Value::Object(Map::from_iter([(kind.to_owned(), json!({}))]))),
    };
    let mut given = json!({ "description": door.about });
    if !content.is_null() {
        given["content"] = content;
    }
    let problem = json!({ "description": "What went wrong, which setting, and what to do next",
        "content": { "application/json": { "schema": { "$ref": "#/components/schemas/Problem" } } } });
    let mut operation = json!({
        "summary": door.about,
        "parameters": in_path.chain(in_query).collect::<Vec<Value>>(),
        "responses": { "default": problem },
    });
    operation["responses"][status] = given;
    let (kind, schema) = match door.takes {
        Takes::Nothing => return operation,
        Takes::Json(schema) => ("application/json", schema()),
        Takes::Form(schema) => ("multipart/form-data", schema()),
        Takes::Png => ("image/png", json!({ "type": "string", "format": "binary" })),
    };
    let content = Map::from_iter([(kind.to_owned(), json!({ "schema": schema }))]);
    operation["requestBody"] = json!({ "required": true, "content": content });
    operation
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::settings::{ALLOWED, STRENGTH};

    #[test]
    fn the_document_has_every_setting_and_every_parameter() {
        let document = whole();
        let body =
            &document["paths"]["/api/jobs"]["post"]["requestBody"]["content"]["application/json"]["schema"];
        let settings = body["properties"]["request"]["properties"].as_object().unwrap();
        let mut known: Vec<String> = ALLOWED.iter().map(|name| name.replace('-', "_")).collect();
        known.push(STRENGTH.into());
        known.sort();
        let mut described: Vec<&String> = settings.keys().collect();
        described.sort();
        assert_eq!(described, known.iter().collect::<Vec<_>>());
        assert!(!document.to_string().contains("\"enum\":null"));
        for (path, methods) in document["paths"].as_object().unwrap() {
            for operation in methods.as_object().unwrap().values() {
                let parameters = operation["parameters"].as_array().unwrap();
                let in_path = parameters.iter().filter(|parameter| parameter["in"] == "path").count();
                assert_eq!(in_path, path.matches('{').count(), "{path}");
            }
        }
    }
}
