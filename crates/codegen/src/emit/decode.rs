use std::fmt::Write;

use super::names::{Condition, condition, ident, mentions};
use super::values::{is_option, method, min_size};
use super::{Part, gate};
use crate::schema::{Field, Kind, Type, Versions};

/// `impl Decode` for one struct.
pub(super) fn implementation(part: &Part<'_>) -> Result<String, String> {
    let body = body(part).map_err(|e| format!("{}: {e}", part.this.name))?;
    let version = if mentions(&body, "version") { "version" } else { "_version" };
    let r = if mentions(&body, "r") { "r" } else { "_r" };
    Ok(format!(
        "{}impl Decode for {} {{
            fn decode({r}: &mut Reader, {version}: i16) -> Result<Self, DecodeError> {{
                {body}
            }}
        }}\n\n",
        gate(part.message, Kind::Request),
        part.this.name,
    ))
}

fn body(part: &Part<'_>) -> Result<String, String> {
    let mut code = String::new();
    for field in part.fields() {
        let (inline, _) = part.places(field);
        let read = format!("out.{} = {};", ident(&field.name), read_value(part, field, inline)?);
        match condition(inline, part.this.versions) {
            Condition::Always => writeln!(code, "{read}"),
            Condition::Never => Ok(()),
            Condition::When { yes, .. } => writeln!(code, "if {yes} {{ {read} }}"),
        }
        .map_err(|e| e.to_string())?;
    }
    code.push_str(&tags_code(part)?);
    let mut out = String::new();
    if part.top {
        let all = part.message.versions;
        let name = &part.message.name;
        out.push_str(&format!("r.check_version(\"{name}\", version, {}, {})?;\n", all.min, all.max));
    }
    if let (Condition::When { yes, .. }, true) = (part.flexible(), mentions(&code, "flex")) {
        out.push_str(&format!("let flex = {yes};\n"));
    }
    if code.is_empty() {
        out.push_str("Ok(Self::default())");
    } else {
        out.push_str(&format!("let mut out = Self::default();\n{code}\nOk(out)"));
    }
    Ok(out)
}

/// The expression that reads a field, in the versions `at`.
fn read_value(part: &Part<'_>, field: &Field, at: Versions) -> Result<String, String> {
    let (label, flex) = (part.label(&field.name), part.flex(field));
    let at = if at.is_empty() { part.this.versions } else { at };
    let bare = match &field.ty {
        Type::String | Type::Bytes | Type::Records => format!("r.{}({flex}, {label})?", method(&field.ty)),
        Type::Struct(name) => format!("{name}::decode(r, version)?"),
        Type::Array(element) => {
            let arguments = array_arguments(part, element, at, &flex, &label)?;
            format!("r.array({arguments})?")
        }
        _ => format!("r.{}({label})?", method(&field.ty)),
    };
    if !is_option(field) {
        return Ok(bare);
    }
    let optional = match &field.ty {
        Type::String | Type::Bytes | Type::Records => {
            format!("r.opt_{}({flex}, {label})?", method(&field.ty))
        }
        Type::Array(element) => {
            format!("r.opt_array({})?", array_arguments(part, element, at, &flex, &label)?)
        }
        Type::Struct(name) => format!("r.opt_struct({label}, |r| {name}::decode(r, version))?"),
        other => return Err(format!("{}: {other:?} cannot be null", field.name)),
    };
    Ok(match condition(field.nullable, at) {
        Condition::Always => optional,
        Condition::Never => format!("Some({bare})"),
        Condition::When { yes, .. } => format!("if {yes} {{ {optional} }} else {{ Some({bare}) }}"),
    })
}

fn array_arguments(
    part: &Part<'_>,
    element: &Type,
    at: Versions,
    flex: &str,
    label: &str,
) -> Result<String, String> {
    let min = min_size(part.message, element, at)?;
    Ok(format!("{flex}, {min}, {label}, |r| {}", read_element(part, element, at, flex, label)?))
}

/// The body of the closure that reads one element of an array.
fn read_element(part: &Part<'_>, ty: &Type, at: Versions, flex: &str, label: &str) -> Result<String, String> {
    Ok(match ty {
        Type::String | Type::Bytes | Type::Records => format!("r.{}({flex}, {label})", method(ty)),
        Type::Struct(name) => format!("{name}::decode(r, version)"),
        Type::Array(element) => format!("r.array({})", array_arguments(part, element, at, flex, label)?),
        _ => format!("r.{}({label})", method(ty)),
    })
}

/// The tagged fields at the end of a flexible version.
fn tags_code(part: &Part<'_>) -> Result<String, String> {
    let label = part.label("unknown_tags");
    let mut arms = String::new();
    for field in part.fields() {
        let (_, tagged) = part.places(field);
        let (Some((tag, _)), false) = (field.tag, tagged.is_empty()) else { continue };
        let within = part.this.versions.intersect(part.message.flexible);
        let guard = match condition(tagged, within) {
            Condition::When { yes, .. } => format!(" if {yes}"),
            Condition::Always | Condition::Never => String::new(),
        };
        let read = read_value(part, field, tagged)?;
        writeln!(arms, "{tag}{guard} => {{ out.{} = {read}; }}", ident(&field.name))
            .map_err(|e| e.to_string())?;
    }
    let read = if arms.is_empty() {
        format!("out.unknown_tags = r.unknown_tags({label})?;")
    } else {
        format!(
            "out.unknown_tags = r.tags({label}, |r, tag| {{
                match tag {{ {arms} _ => return Ok(false) }}
                Ok(true)
            }})?;"
        )
    };
    Ok(match part.flexible() {
        Condition::Always => read,
        Condition::Never => String::new(),
        Condition::When { .. } => format!("if flex {{ {read} }}"),
    })
}
