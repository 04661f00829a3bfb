//! The demonstration is a test of the whole: it ends with 0 only when every ledger agrees.

use std::process::Command;

#[test]
fn twenty_orders_end_as_the_file_says_and_every_ledger_agrees() {
    let output = Command::new(env!("CARGO_BIN_EXE_ordermesh")).arg("demo").output().expect("the executable was built");
    let (text, errors) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{text}\n{errors}");
    assert!(text.contains("verified: every figure agrees"), "{text}");
}
