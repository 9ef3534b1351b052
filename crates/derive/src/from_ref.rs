//! `#[derive(FromRef)]`.

use proc_macro2::TokenStream;
use quote::quote_spanned;
use syn::{Data, DeriveInput, Error, Field, Member, Result, spanned::Spanned};

/// The implementations of the trait, one for each field.
pub(crate) fn expand(input: &DeriveInput) -> Result<TokenStream> {
    let Data::Struct(data) = &input.data else {
        return Err(Error::new(input.ident.span(), "only structs have parts that are always there"));
    };
    if let Some(parameter) = input.generics.params.first() {
        return Err(Error::new(
            parameter.span(),
            "the parts of a generic state may be of the same type: write the trait by hand",
        ));
    }
    let mut parts = Vec::new();
    for (member, field) in data.fields.members().zip(&data.fields) {
        if !is_skipped(field)? {
            parts.push(part(input, &member, field));
        }
    }
    Ok(parts.into_iter().collect())
}

fn part(input: &DeriveInput, member: &Member, field: &Field) -> TokenStream {
    let (state, part) = (&input.ident, &field.ty);
    // What is wrong with a field, such as that another one has its type, is said where it stands.
    quote_spanned! { part.span() =>
        #[automatically_derived]
        impl ::milena_service::FromRef<#state> for #part {
            fn from_ref(state: &#state) -> Self {
                ::core::clone::Clone::clone(&state.#member)
            }
        }
    }
}

fn is_skipped(field: &Field) -> Result<bool> {
    let mut is_skipped = false;
    for attribute in field.attrs.iter().filter(|attribute| attribute.path().is_ident("from_ref")) {
        attribute.parse_nested_meta(|meta| {
            is_skipped = meta.path.is_ident("skip");
            match is_skipped {
                true => Ok(()),
                false => Err(meta.error("nothing like that is said of a part; known is `skip`")),
            }
        })?;
    }
    Ok(is_skipped)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

    use quote::quote;
    use syn::parse_quote;

    use super::*;

    fn refused(input: &DeriveInput) -> String {
        expand(input).expect_err("it must be refused").to_string()
    }

    #[test]
    fn each_field_that_is_not_skipped_is_a_part() {
        let written =
            expand(&parse_quote! { struct App { db: Pool, #[from_ref(skip)] spare: Pool } }).unwrap();
        let expected = quote! {
            #[automatically_derived]
            impl ::milena_service::FromRef<App> for Pool {
                fn from_ref(state: &App) -> Self {
                    ::core::clone::Clone::clone(&state.db)
                }
            }
        };
        assert_eq!(written.to_string(), expected.to_string());
        let tuple = expand(&parse_quote! { struct App(Pool, Rates); }).unwrap().to_string();
        assert!(tuple.contains("state . 0") && tuple.contains("state . 1"), "{tuple}");
        assert!(expand(&parse_quote! { struct App; }).unwrap().is_empty());
    }

    #[test]
    fn what_has_no_parts_is_refused() {
        assert!(refused(&parse_quote! { enum App { A(Pool) } }).starts_with("only structs"));
        assert!(refused(&parse_quote! { struct App<T>(T); }).contains("by hand"));
        let said = refused(&parse_quote! { struct App { #[from_ref(spare)] db: Pool } });
        assert!(said.contains("known is `skip`"), "{said}");
    }
}
