//! Lambda's rules: invocations, processes, limits.

use std::time::Duration;

use futures_util::future::join_all;
use serde_json::{Value, json};

use crate::support::{Gateway, children, eventually, outcome, probe, runs};

async fn error_of(response: reqwest::Response) -> Value {
    assert_eq!(response.status(), 200);
    assert_eq!(response.headers()["x-amz-function-error"], "Unhandled");
    response.json().await.unwrap()
}

#[tokio::test]
async fn an_invocation_answers_with_what_the_function_returns() {
    let gateway = Gateway::start(json!({})).await;
    let response = gateway.invoke("probe", json!({"do": "context"})).await;
    assert_eq!(response.headers()["x-amz-executed-version"], "$LATEST");
    assert_eq!(response.headers().get("x-amz-function-error"), None);
    let context: Value = response.json().await.unwrap();
    assert_eq!(context["arn"], "arn:aws:lambda:us-east-1:000000000000:function:probe");
    assert_eq!(context["id"].as_str().unwrap().len(), 36);
}

#[tokio::test]
async fn the_environment_is_lambdas_and_nothing_of_the_hosts_but_its_path() {
    let gateway = Gateway::start(json!({})).await;
    let environment: Value =
        gateway.invoke("probe", json!({"do": "environment"})).await.json().await.unwrap();
    assert_eq!(environment["GATEWAY"], gateway.url.as_str());
    assert_eq!(environment["AWS_LAMBDA_FUNCTION_NAME"], "probe");
    assert_eq!(environment["AWS_LAMBDA_FUNCTION_MEMORY_SIZE"], "128");
    assert_eq!(environment["_HANDLER"], "bond-gateway-probe");
    let foreign = environment.as_object().unwrap().keys().filter(|name| {
        !name.starts_with("AWS_")
            && ![
                "_HANDLER",
                "_X_AMZN_TRACE_ID",
                "LAMBDA_TASK_ROOT",
                "LAMBDA_RUNTIME_DIR",
                "TZ",
                "LANG",
                "PATH",
                "GATEWAY",
            ]
            .contains(&name.as_str())
    });
    assert_eq!(foreign.collect::<Vec<_>>(), Vec::<&String>::new());
}

#[tokio::test]
async fn one_process_serves_one_invocation_after_the_other_and_more_at_once_need_more() {
    let gateway = Gateway::start(json!({})).await;
    for _ in 0..3 {
        gateway.invoke("probe", json!({})).await;
    }
    assert_eq!(gateway.stats().await["functions"]["probe"]["cold_starts"], 1);
    join_all((0..3).map(|_| gateway.invoke("probe", json!({"sleep_ms": 300})))).await;
    let stats = &gateway.stats().await["functions"]["probe"];
    assert_eq!(
        (&stats["cold_starts"], &stats["environments"], &stats["invocations"]),
        (&json!(3), &json!(3), &json!(6))
    );
    assert_eq!(stats["init_ms"]["count"], 3);
}

#[tokio::test]
async fn more_than_the_concurrency_is_refused() {
    let gateway = Gateway::start(json!({"functions": {"probe": probe(json!({"concurrency": 2}))}})).await;
    let outcomes =
        join_all((0..3).map(|_| async { outcome(&gateway.invoke("probe", json!({"sleep_ms": 300})).await) }))
            .await;
    let refused = (429, "TooManyRequestsException".to_owned());
    assert_eq!(outcomes.iter().filter(|outcome| **outcome == refused).count(), 1, "{outcomes:?}");
    assert_eq!(gateway.stats().await["functions"]["probe"]["throttles"], 1);
}

#[tokio::test]
async fn a_function_that_takes_too_long_is_killed_and_replaced() {
    let gateway = Gateway::start(json!({"functions": {"probe": probe(json!({"timeout_ms": 200}))}})).await;
    let error = error_of(gateway.invoke("probe", json!({"sleep_ms": 60_000})).await).await;
    assert!(
        error["errorMessage"].as_str().unwrap().ends_with("Task timed out after 0.20 seconds"),
        "{error}"
    );
    assert_eq!(gateway.invoke("probe", json!({})).await.headers().get("x-amz-function-error"), None);
    let stats = &gateway.stats().await["functions"]["probe"];
    assert_eq!(
        (&stats["timeouts"], &stats["cold_starts"], &stats["environments"]),
        (&json!(1), &json!(2), &json!(1))
    );
}

#[tokio::test]
async fn a_function_that_exits_fails_its_invocation_and_is_replaced() {
    let gateway = Gateway::start(json!({})).await;
    let error = error_of(gateway.invoke("probe", json!({"do": "exit"})).await).await;
    assert_eq!(error["errorType"], "Runtime.ExitError");
    assert!(error["errorMessage"].as_str().unwrap().ends_with("exit status: 3"), "{error}");
    assert_eq!(gateway.invoke("probe", json!({})).await.headers().get("x-amz-function-error"), None);
}

#[tokio::test]
async fn a_function_that_exits_in_its_init_phase_fails_the_invocation() {
    let command = [env!("CARGO_BIN_EXE_bond-gateway-probe"), "exit-at-once"];
    let gateway = Gateway::start(json!({"functions": {"probe": probe(json!({"command": command}))}})).await;
    let error = error_of(gateway.invoke("probe", json!({})).await).await;
    assert!(error["errorMessage"].as_str().unwrap().ends_with("exit status: 7"), "{error}");
}

#[tokio::test]
async fn a_functions_own_error_reaches_the_invoker() {
    let gateway = Gateway::start(json!({})).await;
    let error = error_of(gateway.invoke("probe", json!({"do": "fail"})).await).await;
    assert_eq!(error["errorMessage"], "told to fail");
}

#[tokio::test]
async fn requests_and_responses_have_their_limits() {
    let gateway = Gateway::start(json!({})).await;
    let sized = |bytes: usize| format!("\"{}\"", "x".repeat(bytes - 2));
    let invoke = async |bytes, kind: &str| {
        let request = gateway.invocation("probe").header("x-amz-invocation-type", kind).body(sized(bytes));
        outcome(&request.send().await.unwrap())
    };
    let too_large = (413, "RequestTooLargeException".to_owned());
    assert_eq!(invoke(6 * 1024 * 1024, "RequestResponse").await.0, 200);
    assert_eq!(invoke(6 * 1024 * 1024 + 1, "RequestResponse").await, too_large);
    assert_eq!(invoke(1024 * 1024 + 1, "Event").await, too_large);
    // A string's quotes are part of the response.
    let longest = gateway.invoke("probe", json!({"do": "big", "bytes": 6_291_554})).await;
    assert_eq!(longest.headers().get("x-amz-function-error"), None);
    let error = error_of(gateway.invoke("probe", json!({"do": "big", "bytes": 6_291_555})).await).await;
    assert_eq!(error["errorType"], "Function.ResponseSizeTooLarge");
}

#[tokio::test]
async fn an_asynchronous_invocation_is_accepted_at_once_and_happens() {
    let gateway = Gateway::start(json!({"functions": {"probe": probe(json!({"concurrency": 1}))}})).await;
    for number in 0..3 {
        let request = gateway.invocation("probe").header("x-amz-invocation-type", "Event");
        let response =
            request.body(json!({"number": number, "sleep_ms": 50}).to_string()).send().await.unwrap();
        assert_eq!(response.status(), 202);
    }
    // They wait for the concurrency that they do not find.
    let events = gateway.events_once(|events| events.len() == 3).await;
    assert_eq!(events.len(), 3);
}

#[tokio::test]
async fn an_invocation_has_to_be_signed_json_for_a_known_function() {
    let gateway = Gateway::start(json!({})).await;
    let path = "/2015-03-31/functions/probe/invocations";
    assert_eq!(gateway.request("POST", path).body("{}").send().await.unwrap().status(), 403);
    assert_eq!(
        outcome(&gateway.invoke("nobody", json!({})).await),
        (404, "ResourceNotFoundException".to_owned())
    );
    let response = gateway.invocation("probe").body("not json").send().await.unwrap();
    assert_eq!(outcome(&response), (400, "InvalidRequestContentException".to_owned()));
    let by_arn = gateway.invoke("arn:aws:lambda:us-east-1:000000000000:function:probe:live", json!({})).await;
    assert_eq!(by_arn.status(), 200);
}

#[tokio::test]
async fn a_deployed_function_replaces_idle_processes_and_lets_the_others_end() {
    let gateway = Gateway::start(json!({})).await;
    let under_way =
        gateway.invocation("probe").body(json!({"sleep_ms": 500, "do": "environment"}).to_string()).send();
    let under_way = tokio::spawn(under_way);
    gateway.events_once(|events| events.len() == 1).await;
    let successor = probe(json!({"env": {"VERSION": "2"}}));
    let response = gateway.request("PUT", "/_admin/functions/probe").json(&successor).send().await.unwrap();
    assert_eq!(response.status(), 204);
    let new: Value = gateway.invoke("probe", json!({"do": "environment"})).await.json().await.unwrap();
    assert_eq!(new["VERSION"], "2");
    let old: Value = under_way.await.unwrap().unwrap().json().await.unwrap();
    assert_eq!(old["VERSION"], Value::Null);
    assert_eq!(old["AWS_LAMBDA_FUNCTION_NAME"], "probe");
    let is_one = async || (gateway.stats().await["functions"]["probe"]["environments"] == 1).then_some(());
    eventually("the end of the old process", is_one).await;
}

#[tokio::test]
async fn functions_end_with_a_simulator_that_is_told_to_stop() {
    let mut gateway = Gateway::start(json!({})).await;
    gateway.invoke("probe", json!({})).await;
    let functions = children(gateway.pid());
    assert_eq!(functions.len(), 1);
    std::process::Command::new("kill").args(["-TERM", &gateway.pid().to_string()]).status().unwrap();
    gateway.wait();
    assert!(!functions.iter().any(|pid| runs(*pid)));
}

#[tokio::test]
async fn functions_end_with_a_simulator_that_is_killed() {
    let mut gateway = Gateway::start(json!({})).await;
    gateway.invoke("probe", json!({})).await;
    let functions = children(gateway.pid());
    assert_eq!(functions.len(), 1);
    gateway.kill();
    eventually("the functions' end", async || (!functions.iter().any(|pid| runs(*pid))).then_some(())).await;
}

#[tokio::test]
async fn an_invocation_goes_on_without_its_invoker() {
    let gateway = Gateway::start(json!({})).await;
    let request = gateway.invocation("probe").body(json!({"sleep_ms": 200}).to_string());
    let given_up = request.timeout(Duration::from_millis(100)).send().await;
    assert!(given_up.is_err());
    let done =
        async || (gateway.stats().await["functions"]["probe"]["duration_ms"]["count"] == 1).then_some(());
    eventually("the invocation's end", done).await;
    assert_eq!(gateway.stats().await["functions"]["probe"]["errors"], 0);
}
