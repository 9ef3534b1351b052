//! The derive macros of milena-service.
