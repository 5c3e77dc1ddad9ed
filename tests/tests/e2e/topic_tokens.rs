//! Tokens for topics: what stops the start, and what the command mints.

use std::path::Path;
use std::process::Output;

use anyhow::{Context, Result, ensure};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bond_e2e::process::{Bond, binary, fresh_dir};
use hmac::{Hmac, KeyInit, Mac};
use serde_json::{Value, json};
use sha2::Sha256;
use tokio::process::Command;

use super::access::{SECRET, key_of};
use super::secrets::does_not_start;

/// What `bond token jwt` says.
async fn token_jwt(data_dir: &Path, words: &[&str], settings: &[(&str, &str)]) -> Result<Output> {
    let mut command = Command::new(binary());
    command.args(["token", "jwt"]).args(words).arg("--data-dir").arg(data_dir);
    Ok(command.envs(settings.iter().copied()).kill_on_drop(true).output().await?)
}

/// The claims of a token that is signed with `secret`.
fn claims(token: &[u8], secret: &str) -> Result<Value> {
    let token = std::str::from_utf8(token)?.trim_end();
    let (signed, signature) = token.rsplit_once('.').context("no signature")?;
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes())?;
    mac.update(signed.as_bytes());
    mac.verify_slice(&URL_SAFE_NO_PAD.decode(signature)?)?;
    let (_, claims) = signed.split_once('.').context("no claims")?;
    Ok(serde_json::from_slice(&URL_SAFE_NO_PAD.decode(claims)?)?)
}

#[tokio::test]
async fn settings_of_tokens_that_cannot_be_used_stop_the_start_all_at_once() -> Result<()> {
    let data_dir = fresh_dir("tokens")?;
    key_of("alice", &data_dir).await?;
    let settings = [
        ("BOND_SECRET", SECRET),
        ("WS_HOST", "wss://feed.example"),
        ("BOND_STATIC_TOKENS", "valid_token:user_123"),
    ];
    for bind in ["127.0.0.1", "0.0.0.0"] {
        let words = ["up", "--bind", bind, "--rest-port", "0", "--ws-port", "0"];
        let said = does_not_start(&words, &data_dir, &settings).await?;
        ensure!(said.contains("BOND_STATIC_TOKENS is for this machine alone"), "{said}");
        ensure!(!said.contains("valid_token"), "{said}");
    }
    let settings =
        [("BOND_JWT_SECRET", "short"), ("BOND_JWKS_URL", "http://id.example"), ("BOND_JWKS", "{}")];
    let said = does_not_start(&["up"], &data_dir, &settings).await?;
    for named in ["BOND_JWT_SECRET is shorter", "BOND_JWKS_URL must be an https URL", "both set"] {
        ensure!(said.contains(named), "{said}");
    }
    Ok(())
}

#[tokio::test]
async fn the_command_signs_with_the_secret_that_the_server_of_the_directory_keeps() -> Result<()> {
    let data_dir = fresh_dir("tokens")?;
    let _bond = Bond::up_in(data_dir.clone(), &[], &[("BOND_STATIC_TOKENS", "valid_token:user_123")]).await?;
    let secret = std::fs::read_to_string(data_dir.join("jwt-secret"))?;
    let words = ["--user", "u1", "--role", "trader", "--topics", "prices.>,trading.u1", "--ttl", "90s"];
    let minted = token_jwt(&data_dir, &words, &[]).await?;
    let claims_of = claims(&minted.stdout, &secret)?;
    ensure!(claims_of["user_id"] == "u1" && claims_of["role"] == "trader", "{claims_of}");
    ensure!(claims_of["topics"] == json!(["prices.>", "trading.u1"]), "{claims_of}");
    let set = [("BOND_JWT_SECRET", SECRET), ("BOND_JWT_AUDIENCE", "bond")];
    let minted = token_jwt(&data_dir, &["--user", "u1"], &set).await?;
    let claims_of = claims(&minted.stdout, SECRET)?;
    ensure!(claims_of["aud"] == "bond" && claims_of.get("topics").is_none(), "{claims_of}");
    for (words, settings, code) in [
        (&["--user", "u1", "--topics", "prices.>.x"][..], &[][..], 3),
        (&["--user", "u1", "--ttl", "1"], &[], 2),
        (&["--user", "u1"], &[("BOND_JWKS_URL", "https://id.example/jwks")], 1),
    ] {
        let refused = token_jwt(&data_dir, words, settings).await?;
        ensure!(refused.status.code() == Some(code) && refused.stdout.is_empty(), "{refused:?}");
    }
    Ok(())
}
