use super::*;
use crate::testing::assert_refuses;

/// Where the text changes, as (last step, text).
fn schedule(prompt: &str, steps: usize) -> Vec<(usize, String)> {
    let schedule = Schedule::of(prompt, steps).unwrap();
    let texts: Vec<&str> = (0..steps).map(|step| schedule.text(step)).collect();
    let last = |step: &usize| texts.get(step + 1) != Some(&texts[*step]);
    (0..steps).filter(last).map(|step| (step + 1, texts[step].to_owned())).collect()
}

fn assert_schedule(prompt: &str, steps: usize, expected: &[(usize, &str)]) {
    let expected: Vec<_> = expected.iter().map(|(step, text)| (*step, text.to_string())).collect();
    assert_eq!(schedule(prompt, steps), expected, "{prompt:?}");
}

/// The examples in the documentation of stable-diffusion-webui's `get_learned_conditioning_prompt_schedules`. (One of
/// them, `a [{b|d{:.5] c`, webui itself says it does not handle: it is text.)
#[test]
fn documented_examples() {
    assert_schedule("test", 10, &[(10, "test")]);
    assert_schedule("a [b:3]", 10, &[(3, "a "), (10, "a b")]);
    assert_schedule("a [b: 3]", 10, &[(3, "a "), (10, "a b")]);
    assert_schedule("a [[[b]]:2]", 10, &[(2, "a "), (10, "a [[b]]")]);
    assert_schedule("[(a:2):3]", 10, &[(3, ""), (10, "(a:2)")]);
    assert_schedule("a [b : c : 1] d", 10, &[(1, "a b  d"), (10, "a  c  d")]);
    assert_schedule("a[b:[c:d:2]:1]e", 10, &[(1, "abe"), (2, "ace"), (10, "ade")]);
    assert_schedule("a [unbalanced", 10, &[(10, "a [unbalanced")]);
    assert_schedule("a [b:.5] c", 10, &[(5, "a  c"), (10, "a b c")]);
    assert_schedule("a [{b|d{:.5] c", 10, &[(10, "a [{b|d{:.5] c")]);
    assert_schedule("((a][:b:c [d:3]", 10, &[(3, "((a][:b:c "), (10, "((a][:b:c d")]);
    let turns = |texts: &[&'static str]| (0..10).map(|i| (i + 1, texts[i % texts.len()])).collect::<Vec<_>>();
    assert_schedule("[a|(b:1.1)]", 10, &turns(&["a", "(b:1.1)"]));
    assert_schedule("[fe|]male", 10, &turns(&["female", "male"]));
    let four = [(1, "female"), (4, "male"), (5, "female"), (8, "male"), (9, "female"), (10, "male")];
    assert_schedule("[fe|||]male", 10, &four);
    let landscape = "fantasy landscape with a [mountain:lake:0.25] and [an oak:a christmas tree:0.75]\
                     [ in foreground::0.6][ in background:0.25] [shoddy:masterful:0.5]";
    let expected = [
        (25, "fantasy landscape with a mountain and an oak in foreground shoddy"),
        (50, "fantasy landscape with a lake and an oak in foreground in background shoddy"),
        (60, "fantasy landscape with a lake and an oak in foreground in background masterful"),
        (75, "fantasy landscape with a lake and an oak in background masterful"),
        (100, "fantasy landscape with a lake and a christmas tree in background masterful"),
    ];
    assert_schedule(landscape, 100, &expected);
}

/// What webui's function makes of these over 6 steps.
#[test]
fn numbers_are_steps_or_shares() {
    let at = |when: &str| {
        schedule(&format!("[a:b:{when}]"), 6).into_iter().map(|(step, _)| step).collect::<Vec<usize>>()
    };
    let (never, always): (Vec<usize>, [&str; 7]) =
        (vec![6], ["1e1", "5.", "1.0", "50", "+9", "99999999999", "6"]);
    for when in always {
        assert_eq!(at(when), never, "{when}");
        assert_eq!(schedule(&format!("[a:b:{when}]"), 6)[0].1, "a", "{when}");
    }
    for when in ["-3", "0", "0.05", "-0.5", "0.1e0", "1e-5"] {
        assert_eq!(schedule(&format!("[a:b:{when}]"), 6), [(6, "b".to_owned())], "{when}");
    }
    for when in [" 3 ", "\t3\n", "+3", ".5", "0.5", "0.66", "3e0"] {
        assert_eq!(at(when), [3, 6], "{when}");
    }
}

/// What webui's function makes of these over 6 steps.
#[test]
fn what_is_no_schedule_stays_as_it_is() {
    let text = [
        "",
        "[a:b:]",
        "[a:b]",
        "[3]",
        "[a:b:c:3]",
        "a|b [c:3]",
        "(a|b)",
        "[a|b:3]",
        "[a:b|c:3]",
        "(a [b) c:3]",
        "( [ a ) b:3]",
        "[c:3] a\\",
        "a\\\nb[c:3]",
        r"\[a:b:3\]",
        r"\[a|b\]",
        "[]",
        "()",
        "(:)",
        "[(a:b:c):3]",
        "[a:b:3",
        "[a|b",
        "[a:b:3 4]",
        "[a:b:1_0]",
        "[a:b:inf]",
        "[a:b:nan]",
        "[a:b:(3)]",
        "[(a|b):c:3]",
    ];
    for prompt in text {
        assert_schedule(prompt, 6, &[(6, prompt)]);
    }
    assert_schedule("(x [y:z] [d:3])", 6, &[(3, "(x [y:z] )"), (6, "(x [y:z] d)")]);
    assert_schedule("(a:b:[c:3])", 6, &[(3, "(a:b:)"), (6, "(a:b:c)")]);
    assert_schedule(r"[a\:b:c:3]", 6, &[(3, r"a\:b"), (6, "c")]);
    assert_schedule(r"[a\|b|c]", 2, &[(1, r"a\|b"), (2, "c")]);
    assert_schedule("a]:b[c:d:2]", 6, &[(2, "a]:bc"), (6, "a]:bd")]);
    assert_schedule("[a:3][b::2]", 6, &[(2, "b"), (3, ""), (6, "a")]);
    assert_schedule("[::3]", 6, &[(6, "")]);
    assert_schedule("[:3]", 6, &[(6, "")]);
}

#[test]
fn changes_and_turns_stand_in_each_other() {
    assert_schedule("[[a|b]:c:3]", 6, &[(1, "a"), (2, "b"), (3, "a"), (6, "c")]);
    assert_schedule("[a:[b|c]:4]", 6, &[(4, "a"), (5, "b"), (6, "c")]);
    assert_schedule("[a|[b:c:3]]", 6, &[(1, "a"), (2, "b"), (3, "a"), (4, "c"), (5, "a"), (6, "c")]);
    let both = [(1, "a   c"), (2, "a   d"), (3, "a   c"), (4, "b  d"), (5, "b  c"), (6, "b  d")];
    assert_schedule("[a :b:3]  [c|d]", 6, &both);
}

#[test]
fn what_an_author_may_not_expect_is_remarked() {
    let remarks = |prompt: &str| Schedule::of(prompt, 10).unwrap().remarks(5);
    let of = |remark: fn(String) -> Remark, written: &str| vec![remark(written.into())];
    assert_eq!(remarks("a [cat:dog:] here"), of(Remark::Neither, "[cat:dog:]"));
    assert_eq!(remarks("[a:b:c:3]"), of(Remark::Neither, "[a:b:c:3]"));
    assert_eq!(remarks("[a|b:3]"), of(Remark::Neither, "[a|b:3]"));
    assert_eq!(remarks("a [cat:dog:0.5"), of(Remark::NeverClosed, "[cat:dog:0.5"));
    assert_eq!(remarks("a|b [c|d]"), of(Remark::TurnedOff, "[c|d]"));
    assert_eq!(remarks("[cat:dog:5]"), of(Remark::TooLate, "[cat:dog:5]"));
    assert_eq!(remarks("[cat:dog:0.5]"), of(Remark::TooLate, "[cat:dog:0.5]"));
    assert_eq!(remarks("[cat:dog:0]"), of(Remark::TooEarly, "[cat:dog:0]"));
    for prompt in
        ["[cat:dog:4]", "[cat::9]", "[dog:0]", "[a|b]", "a [cat], (dog:1.2)", "a|b", "[note: x]", ""]
    {
        assert_eq!(remarks(prompt), [], "{prompt}");
    }
}

#[test]
fn brackets_without_end_are_read_or_refused() {
    let nested = |n: usize| format!("{}a{}", "[".repeat(n), ":b:3]".repeat(n));
    assert_eq!(schedule(&nested(32), 6).len(), 2);
    for n in [33, 100, 10_000] {
        assert_refuses(
            Schedule::of(&nested(n), 6),
            "prompt: expected at most 32 brackets with changes or turns",
        );
    }
    let turns = format!("{}a{}", "[".repeat(9000), "|b]".repeat(9000));
    assert_refuses(Schedule::of(&turns, 6), "prompt: expected at most 32 brackets with changes or turns");
    for text in ["[".repeat(60_000), "(".repeat(60_000), "[a:b:".repeat(10_000), "(|".repeat(30_000)] {
        assert_schedule(&text, 6, &[(6, &text)]);
    }
    let emphasis = format!("{}[a|b]{}", "(".repeat(10_000), ")".repeat(10_000));
    assert_eq!(schedule(&emphasis, 6).len(), 6);
    let many = "[a:b:3]".repeat(9000);
    assert_eq!(schedule(&many, 1000).len(), 2);
    assert_refuses(Schedule::of(&"a".repeat(70_000), 6), "prompt: expected at most 65536 bytes");
}
