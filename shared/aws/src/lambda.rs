//! The fan-out function, run by Lambda's `Invoke`.

use std::time::Duration;

use async_trait::async_trait;
use bond_core::deliver::{Invocation, InvokeError, Invoker, Receipt};
use bytes::Bytes;
use http::{HeaderValue, Request, StatusCode, Uri};
use tokio::time::Instant;

use crate::signed::{Answer, ClientError, SendError, SignedHttp, path_segment, post};

/// How long an answer may take beyond the function's own budget: a cold start, and the way there and back.
const MARGIN: Duration = Duration::from_secs(3);
/// How long posts that a function left behind may still arrive after Lambda has said that it ended.
const SETTLE: Duration = Duration::from_secs(1);

/// An [`Invoker`] of one Lambda function. A clone is another handle.
///
/// A request is sent once. Lambda refuses before it begins (`TooManyRequestsException`, an unknown function, a lack of permission):
/// [`InvokeError::NotStarted`]. Lambda says that the function ended with an error: it posts no more within a second. There is no
/// answer, or one of the 5xx kind: the function may begin even now, Lambda does not queue such invocations, and so it posts no more
/// after one budget.
#[derive(Clone)]
pub struct LambdaInvoker {
    http: SignedHttp,
    uri: Uri,
    margin: Duration,
}

impl LambdaInvoker {
    pub(crate) fn new(http: SignedHttp, function: &str) -> Result<Self, ClientError> {
        let endpoint = http.lambda_endpoint();
        let function = path_segment(function);
        let url = format!("{}/2015-03-31/functions/{function}/invocations", endpoint.trim_end_matches('/'));
        let uri = url.parse().map_err(|_| ClientError::Url(url))?;
        Ok(Self { http, uri, margin: MARGIN })
    }

    fn request(&self, body: Bytes) -> Request<Bytes> {
        let mut request = post(self.uri.clone(), body);
        let headers = request.headers_mut();
        headers.insert("content-type", HeaderValue::from_static("application/json"));
        headers.insert("x-amz-invocation-type", HeaderValue::from_static("RequestResponse"));
        request
    }
}

#[async_trait]
impl Invoker for LambdaInvoker {
    async fn invoke(&self, invocation: &Invocation) -> Result<Receipt, InvokeError> {
        let budget = Duration::from_millis(invocation.budget_ms);
        let body = serde_json::to_vec(invocation).map_err(|e| InvokeError::NotStarted(e.to_string()))?;
        let answer = self.http.send(self.request(body.into()), Instant::now() + budget + self.margin).await;
        let answer = answer.map_err(|error| match error {
            SendError::Unsent(reason) => InvokeError::NotStarted(reason),
            unanswered => InvokeError::Failed { reason: unanswered.to_string(), after: budget },
        })?;
        read(&answer, invocation.parcels.len(), budget)
    }
}

fn read(answer: &Answer, parcels: usize, budget: Duration) -> Result<Receipt, InvokeError> {
    if answer.status.is_server_error() {
        return Err(InvokeError::Failed { reason: refusal(answer), after: budget });
    }
    if answer.status != StatusCode::OK {
        return Err(InvokeError::NotStarted(refusal(answer)));
    }
    let ended = |reason: String| InvokeError::Failed { reason, after: SETTLE };
    if let Some(kind) = answer.header("x-amz-function-error") {
        return Err(ended(format!("{kind}: {}", answer.text())));
    }
    let receipt: Receipt =
        serde_json::from_slice(&answer.body).map_err(|error| ended(format!("not a receipt: {error}")))?;
    if receipt.deliveries.len() != parcels {
        return Err(ended(format!("receipt of {} for {parcels} parcels", receipt.deliveries.len())));
    }
    Ok(receipt)
}

fn refusal(answer: &Answer) -> String {
    format!("{} {}: {}", answer.status.as_u16(), answer.error_type(), answer.text())
}

#[cfg(test)]
mod tests;
