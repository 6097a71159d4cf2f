//! One component of a model folder: `config.json` beside its weights.
