use std::fmt::Write;

use super::names::{Condition, condition, ident, mentions};
use super::values::{is_option, is_set, method};
use super::{Part, gate};
use crate::schema::{Field, Kind, Type};

/// `impl Encode` for one struct.
pub(super) fn implementation(part: &Part<'_>) -> Result<String, String> {
    let body = body(part).map_err(|e| format!("{}: {e}", part.this.name))?;
    let version = if mentions(&body, "version") { "version" } else { "_version" };
    let w = if mentions(&body, "w") { "w" } else { "_w" };
    Ok(format!(
        "{}impl Encode for {} {{
            fn encode(&self, {w}: &mut Writer, {version}: i16) -> Result<(), EncodeError> {{
                {body}
                Ok(())
            }}
        }}\n\n",
        gate(part.message, Kind::Response),
        part.this.name,
    ))
}

fn body(part: &Part<'_>) -> Result<String, String> {
    let mut code = String::new();
    for field in part.fields() {
        code.push_str(&field_code(part, field)?);
    }
    code.push_str(&tags_code(part)?);
    let mut out = String::new();
    if part.top {
        let all = part.message.versions;
        let name = &part.message.name;
        out.push_str(&format!("check_encode_version(\"{name}\", version, {}, {})?;\n", all.min, all.max));
    }
    if let (Condition::When { yes, .. }, true) = (part.flexible(), mentions(&code, "flex")) {
        out.push_str(&format!("let flex = {yes};\n"));
    }
    out.push_str(&code);
    Ok(out)
}

/// Writes a field in its place, or sees to it that it is not set where it has none.
fn field_code(part: &Part<'_>, field: &Field) -> Result<String, String> {
    let value = format!("self.{}", ident(&field.name));
    let (inline, _) = part.places(field);
    let refuse = if field.ignorable {
        None
    } else {
        let set = is_set(field, &value)?;
        Some(format!("unsupported({set}, {}, version)?;", part.label(&field.name)))
    };
    let absent = match condition(field.versions, part.this.versions) {
        Condition::When { no, .. } => refuse.map(|refuse| (no, refuse)),
        Condition::Always | Condition::Never => None,
    };
    Ok(match (condition(inline, part.this.versions), absent) {
        (Condition::Always, _) => write_value(part, field, &value)?,
        (Condition::Never, None) => String::new(),
        (Condition::Never, Some((no, refuse))) => format!("if {no} {{ {refuse} }}\n"),
        (Condition::When { yes, .. }, None) => {
            format!("if {yes} {{ {} }}\n", write_value(part, field, &value)?)
        }
        (Condition::When { yes, .. }, Some((no, refuse))) => {
            let write = write_value(part, field, &value)?;
            // A field that becomes a tagged one is neither in place nor absent there.
            let otherwise = if field.tag.is_some() { format!("else if {no}") } else { "else".to_owned() };
            format!("if {yes} {{ {write} }} {otherwise} {{ {refuse} }}\n")
        }
    })
}

/// Statements that write a field's value.
fn write_value(part: &Part<'_>, field: &Field, value: &str) -> Result<String, String> {
    let (label, flex) = (part.label(&field.name), part.flex(field));
    let nullable = condition(field.nullable, field.versions.intersect(part.this.versions));
    if !is_option(field) {
        return Ok(write_bare(&field.ty, value, &flex, &label));
    }
    let present = format!("present({value}.as_ref(), {label}, version)?");
    let optional = match &field.ty {
        Type::String | Type::Bytes | Type::Records => {
            format!("w.opt_{}({value}.as_ref(), {flex}, {label})?;", method(&field.ty))
        }
        Type::Array(element) => format!(
            "w.opt_array({value}.as_deref(), {flex}, {label}, |w, v| {})?;",
            write_element(element, &flex, &label)
        ),
        Type::Struct(_) => format!("w.opt_struct({value}.as_ref(), |w, v| v.encode(w, version))?;"),
        other => return Err(format!("{}: {other:?} cannot be null", field.name)),
    };
    Ok(match (nullable, &field.ty) {
        (Condition::Always, _) => optional,
        (Condition::Never, Type::Struct(_)) => format!("{present}.encode(w, version)?;"),
        (Condition::When { no, .. }, Type::Struct(_)) => {
            format!("if {no} {{ {present}.encode(w, version)?; }} else {{ {optional} }}")
        }
        (Condition::Never, _) => format!("{present};\n{optional}"),
        // But for null the two forms are the same.
        (Condition::When { no, .. }, _) => format!("if {no} {{ {present}; }}\n{optional}"),
    })
}

fn write_bare(ty: &Type, value: &str, flex: &str, label: &str) -> String {
    match ty {
        Type::String | Type::Bytes | Type::Records => {
            format!("w.{}(&{value}, {flex}, {label})?;\n", method(ty))
        }
        Type::Struct(_) => format!("{value}.encode(w, version)?;\n"),
        Type::Array(element) => {
            format!("w.array(&{value}, {flex}, {label}, |w, v| {})?;\n", write_element(element, flex, label))
        }
        _ => format!("w.{}({value});\n", method(ty)),
    }
}

/// The body of the closure that writes one element `v` of an array.
fn write_element(ty: &Type, flex: &str, label: &str) -> String {
    match ty {
        Type::String | Type::Bytes | Type::Records => format!("w.{}(v, {flex}, {label})", method(ty)),
        Type::Struct(_) => "v.encode(w, version)".to_owned(),
        Type::Array(element) => {
            format!("w.array(v, {flex}, {label}, |w, v| {})", write_element(element, flex, label))
        }
        _ => format!("{{ w.{}(*v); Ok(()) }}", method(ty)),
    }
}

/// The tagged fields at the end of a flexible version.
fn tags_code(part: &Part<'_>) -> Result<String, String> {
    let label = part.label("unknown_tags");
    let mut known = String::new();
    for field in part.fields() {
        let (_, tagged) = part.places(field);
        let (Some((tag, _)), false) = (field.tag, tagged.is_empty()) else { continue };
        let value = format!("self.{}", ident(&field.name));
        let set = is_set(field, &value)?;
        let within = part.this.versions.intersect(part.message.flexible);
        let when = match condition(tagged, within) {
            Condition::When { yes, .. } => format!("{yes} && {set}"),
            Condition::Always | Condition::Never => set,
        };
        let write = write_value(part, field, &value)?;
        writeln!(known, "if {when} {{ tags.push(({tag}, tagged(|w| {{ {write} Ok(()) }})?)); }}")
            .map_err(|e| e.to_string())?;
    }
    let write = if known.is_empty() {
        format!("w.tags(Vec::new(), &self.unknown_tags, {label})?;")
    } else {
        format!("let mut tags = Vec::new();\n{known}w.tags(tags, &self.unknown_tags, {label})?;")
    };
    Ok(match part.flexible() {
        Condition::Always => write,
        Condition::Never => String::new(),
        Condition::When { .. } => format!(
            "if flex {{ {write} }} else {{ unsupported(!self.unknown_tags.is_empty(), {label}, version)?; }}"
        ),
    })
}
