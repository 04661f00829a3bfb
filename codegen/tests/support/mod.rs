//! Small contracts in strings.
use std::collections::BTreeMap;

use codegen::compile::compile_sources;
use codegen::contract_ir;
use codegen::ir::ContractIr;

const OPTIONS: &str = include_str!("../../../proto/ordermesh/options/v1/options.proto");
const HTTP: &str = r#"syntax = "proto3";
package google.api;
message HttpRule {
  oneof pattern { string get = 2; string put = 3; string post = 4; string delete = 5; string patch = 6; CustomHttpPattern custom = 8; }
  string body = 7;
  string response_body = 12;
  repeated HttpRule additional_bindings = 11;
}
message CustomHttpPattern { string kind = 1; string path = 2; }
"#;
const ANNOTATIONS: &str = r#"syntax = "proto3";
package google.api;
import "google/api/http.proto";
import "google/protobuf/descriptor.proto";
extend google.protobuf.MethodOptions { HttpRule http = 72295728; }
"#;
const FIELD_BEHAVIOR: &str = r#"syntax = "proto3";
package google.api;
import "google/protobuf/descriptor.proto";
enum FieldBehavior { FIELD_BEHAVIOR_UNSPECIFIED = 0; OPTIONAL = 1; REQUIRED = 2; OUTPUT_ONLY = 3; INPUT_ONLY = 4; }
extend google.protobuf.FieldOptions { repeated FieldBehavior field_behavior = 1052 [packed = false]; }
"#;
const HTTP_BODY: &str = r#"syntax = "proto3";
package google.api;
message HttpBody { string content_type = 1; bytes data = 2; }
"#;
const IMPORTS: &str = r#"syntax = "proto3";
package ordermesh.order.v1;
import "google/api/annotations.proto";
import "google/api/field_behavior.proto";
import "google/api/httpbody.proto";
import "google/protobuf/field_mask.proto";
import "google/protobuf/timestamp.proto";
import "ordermesh/options/v1/options.proto";
"#;

/// The contract of `ordermesh/order/v1/order.proto` with this text after its imports.
pub fn read(text: &str) -> Result<ContractIr, String> {
    let file = "ordermesh/order/v1/order.proto".to_owned();
    let sources = BTreeMap::from([
        ("ordermesh/options/v1/options.proto".to_owned(), OPTIONS.to_owned()),
        ("google/api/http.proto".to_owned(), HTTP.to_owned()),
        ("google/api/annotations.proto".to_owned(), ANNOTATIONS.to_owned()),
        ("google/api/field_behavior.proto".to_owned(), FIELD_BEHAVIOR.to_owned()),
        ("google/api/httpbody.proto".to_owned(), HTTP_BODY.to_owned()),
        (file.clone(), format!("{IMPORTS}{text}")),
    ]);
    let compiled = compile_sources(&sources, &[file]).expect("the test's proto compiles");
    contract_ir(&compiled).map_err(|problems| problems.to_string())
}
