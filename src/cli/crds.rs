//! `davit crds`.

/// Returns the CRDs as one YAML stream.
///
/// # Errors
/// A CRD cannot be serialized.
pub fn yaml() -> anyhow::Result<String> {
    let mut text = String::new();
    for crd in crate::api::crds() {
        text.push_str("---\n");
        text.push_str(&serde_saphyr::to_string(&serde_json::to_value(crd)?)?);
    }
    Ok(text)
}
