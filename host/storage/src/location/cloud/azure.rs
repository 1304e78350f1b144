//! Azure Blob Storage.

use std::sync::Arc;

use object_store::azure::MicrosoftAzureBuilder;
use object_store::client::ReqwestConnector;
use object_store::path::Path;

use super::{Opened, retry};
use crate::error::Result;
use crate::location::client::Checked;
use crate::location::environment::{Variables, wrong};
use crate::location::{Kind, Location};

const ACCOUNT: &str = "AZURE_STORAGE_ACCOUNT_NAME";
const KEY: &str = "AZURE_STORAGE_ACCOUNT_KEY";
const CONNECTION: &str = "AZURE_STORAGE_CONNECTION_STRING";
const ENDPOINTS: [&str; 2] = ["AZURE_STORAGE_ENDPOINT", "AZURE_ENDPOINT"];

pub(super) fn open(
    location: &Location,
    account: Option<&str>,
    container: &str,
    key: &Path,
) -> Result<Opened> {
    let variables = variables(Variables::read(&PREFIXES)?, account)?;
    let mut builder = MicrosoftAzureBuilder::new();
    if let Some(endpoint) = variables.get("IDENTITY_ENDPOINT") {
        builder = builder.with_msi_endpoint(endpoint);
    }
    let settings = variables.settings();
    let store = settings
        .fold(builder, |builder, (key, value)| {
            builder.with_config(key, value)
        })
        .with_http_connector(Checked(ReqwestConnector::default()))
        .with_container_name(container)
        .with_retry(retry())
        .build()
        .map_err(|e| variables.unusable(&location.to_string(), e))?;
    // The account name is globally unique, unless the environment sets another host.
    let elsewhere = [
        &ENDPOINTS[..],
        &["AZURE_STORAGE_USE_EMULATOR", "AZURE_USE_FABRIC_ENDPOINT"],
    ];
    let elsewhere = elsewhere.concat().iter().any(|name| variables.has(name));
    let account = match elsewhere {
        true => account,
        false => variables.get(ACCOUNT),
    };
    let named = Location::new(Kind::Azure {
        account: account.map(str::to_owned),
        container: container.to_owned(),
        key: key.clone(),
    });
    Ok((Arc::new(store), named))
}

pub(in crate::location) const PREFIXES: [&str; 2] = ["AZURE_", "IDENTITY_ENDPOINT"];

/// Resolves the variables for a location that may name its account.
///
/// # Errors
/// `InvalidLocation` for variables that select an account but would be ignored.
pub(in crate::location) fn variables(
    mut variables: Variables,
    account: Option<&str>,
) -> Result<Variables> {
    // The names that Azure's own tools use.
    variables.fall_back(&[ACCOUNT], ACCOUNT, "AZURE_STORAGE_ACCOUNT");
    let keys = [KEY, "AZURE_STORAGE_ACCESS_KEY", "AZURE_STORAGE_MASTER_KEY"];
    variables.fall_back(&keys, KEY, "AZURE_STORAGE_KEY");
    variables.check_http("AZURE_", &ENDPOINTS)?;
    if variables.has(CONNECTION) && !variables.has(ACCOUNT) {
        let what = format!("is not supported; set {ACCOUNT} and {KEY} instead");
        return Err(wrong(CONNECTION, &what));
    }
    if let Some(account) = account {
        match variables.get(ACCOUNT) {
            Some(other) if other != account => {
                let what = "names a different account than the location, so its keys do not apply; set it to the location's account";
                return Err(wrong(ACCOUNT, what));
            }
            _ => variables.set(ACCOUNT, account),
        }
    }
    Ok(variables)
}
