//! The C header and the Rust layouts are one contract: a C compiler says so.

use lockstep_policy::abi::{self, CODES, kind, layout, stamp, table};
use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The macros for authors make a stamp and an export that compile without a warning.
const MACROS: &str = "LS_STAMP(stamp, \"x\", \"1.0.0\", 1, LS_INDISPENSABLE, LS_INDISPENSABLE);\n\
                      LS_EXPORT ls_policy lockstep_policy_v1 = {.size = sizeof(ls_policy), .stamp = &stamp};\n";

fn include() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("include")
}

/// Compiles and runs a C program; its output.
fn run_c(program: &str) -> String {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let (source, executable) = (folder.path().join("layout.c"), folder.path().join("layout"));
    std::fs::write(&source, program).expect("it can be written");
    let compiled = Command::new("cc")
        .args(["-std=c11", "-Wall", "-Wextra", "-Wpedantic", "-Werror", "-I"])
        .arg(include())
        .arg("-o")
        .args([&executable, &source])
        .output()
        .expect("a C compiler is installed");
    assert!(compiled.status.success(), "{}", String::from_utf8_lossy(&compiled.stderr));
    let output = Command::new(executable).output().expect("it runs");
    String::from_utf8(output.stdout).expect("it prints text")
}

#[test]
fn every_struct_and_field_is_where_the_header_says() {
    let layouts = layout::LAYOUTS.iter().chain(table::LAYOUTS).chain([&stamp::LAYOUT]);
    let (mut program, mut expected) =
        (String::from("#include \"lockstep_policy.h\"\n#include <stdio.h>\nint main(void) {\n"), String::new());
    for layout in layouts {
        let name = layout.name;
        writeln!(program, "printf(\"{name} %zu\\n\", sizeof({name}));").expect("a string takes it");
        writeln!(expected, "{name} {}", layout.size).expect("a string takes it");
        for (field, at) in layout.fields {
            writeln!(program, "printf(\"{name}.{field} %zu\\n\", offsetof({name}, {field}));")
                .expect("a string takes it");
            writeln!(expected, "{name}.{field} {at}").expect("a string takes it");
        }
    }
    program.push_str("return 0; }\n");
    assert_eq!(run_c(&program), expected);
}

#[test]
fn every_number_is_the_headers() {
    let kinds = [
        ("LS_EV_START", kind::START),
        ("LS_EV_PROBE", kind::PROBE),
        ("LS_EV_AGENT", kind::AGENT),
        ("LS_EV_LINK", kind::LINK),
        ("LS_EV_TRAFFIC", kind::TRAFFIC),
        ("LS_EV_TIMER", kind::TIMER),
        ("LS_EV_ORDER", kind::ORDER),
        ("LS_EV_HANDOVER", kind::HANDOVER),
        ("LS_EV_RESULT", kind::RESULT),
        ("LS_DO_WATCH", kind::WATCH),
        ("LS_DO_UNWATCH", kind::UNWATCH),
        ("LS_DO_PROBE_NOW", kind::PROBE_NOW),
        ("LS_DO_SET_TIMER", kind::SET_TIMER),
        ("LS_DO_CANCEL_TIMER", kind::CANCEL_TIMER),
        ("LS_DO_PREPARE", kind::PREPARE),
        ("LS_DO_SWITCH", kind::SWITCH),
        ("LS_DO_STAND_DOWN", kind::STAND_DOWN),
        ("LS_DO_RESTART_SERVICE", kind::RESTART_SERVICE),
        ("LS_DO_SHOW", kind::SHOW),
        ("LS_DO_ALERT", kind::ALERT),
        ("LS_DO_REFUSE_ORDER", kind::REFUSE_ORDER),
        ("LS_DO_ASK_CONFIRMATION", kind::ASK_CONFIRMATION),
        ("LS_EV_CONFIG", kind::CONFIG),
        ("LS_EV_COMMAND", kind::COMMAND),
        ("LS_EV_SESSIONS", kind::SESSIONS),
        ("LS_DO_WATCH_ICMP", kind::WATCH_ICMP),
        ("LS_DO_WATCH_AGENT", kind::WATCH_AGENT),
        ("LS_DO_WATCH_XMPP", kind::WATCH_XMPP),
        ("LS_DO_WATCH_CTI", kind::WATCH_CTI),
        ("LS_DO_SHARE", kind::SHARE),
        ("LS_DO_ROSTER", kind::ROSTER),
        ("LS_DO_REPLY", kind::ANSWER),
        ("LS_DO_UNANSWER", kind::UNANSWER),
        ("LS_DO_SET_ALARM", kind::SET_ALARM),
        ("LS_DO_ACCEPT_ORDER", kind::ACCEPT_ORDER),
        ("LS_DO_ANSWER_CONFIG", kind::ANSWER_CONFIG),
        ("LS_DO_CONFIRM_GATE", kind::CONFIRM_GATE),
        ("LS_DO_RUN_HOOK", kind::RUN_HOOK),
        ("LS_DO_FAULT", kind::FAULT),
        ("LS_MUST_KNOW", abi::MUST_KNOW),
    ];
    let returns = [
        ("LS_OK", abi::OK),
        ("LS_REFUSED", abi::REFUSED),
        ("LS_MALFORMED", abi::MALFORMED),
        ("LS_FULL", abi::FULL),
        ("LS_PANICKED", abi::PANICKED),
    ];
    let versions =
        [("LS_MAJOR", abi::MAJOR.into()), ("LS_MINOR", abi::MINOR.into()), ("LS_MAX_RECORD", abi::MAX_RECORD as i64)];
    let numbers = kinds.map(|(name, value)| (name, i64::from(value))).into_iter();
    let numbers = numbers.chain(returns.map(|(name, value)| (name, i64::from(value)))).chain(versions);
    let numbers: Vec<_> = numbers.chain(CODES.iter().map(|(name, value)| (*name, i64::from(*value)))).collect();

    let mut program = String::from("#include \"lockstep_policy.h\"\n#include <stdio.h>\n");
    program.push_str(MACROS);
    program.push_str("int main(void) {\n");
    let mut expected = String::new();
    for (name, value) in numbers {
        writeln!(program, "printf(\"{name} %ld\\n\", (long)({name}));").expect("a string takes it");
        writeln!(expected, "{name} {value}").expect("a string takes it");
    }
    writeln!(program, "printf(\"%lu\\n\", (unsigned long)LS_INDISPENSABLE); return 0; }}").expect("a string takes it");
    writeln!(expected, "{}", kind::bits(&kind::INDISPENSABLE)).expect("a string takes it");
    assert_eq!(run_c(&program), expected);
}
