import { Duration } from 'aws-cdk-lib';
import * as gateway from 'aws-cdk-lib/aws-apigatewayv2';
import { HttpLambdaIntegration } from 'aws-cdk-lib/aws-apigatewayv2-integrations';
import type { IFunction } from 'aws-cdk-lib/aws-lambda';
import { Construct } from 'constructs';
import { accessLog } from './access-log.ts';
import { acknowledge } from './acknowledge.ts';
import type { Settings } from './settings.ts';

/** REST: every path to one function, which routes. */
export class RestApi extends Construct {
  readonly api: gateway.HttpApi;
  /** Where REST answers, without a slash at its end. */
  readonly url: string;

  constructor(scope: Construct, id: string, handler: IFunction, settings: Settings) {
    super(scope, id);
    this.api = new gateway.HttpApi(this, 'Api', {
      apiName: `${settings.name}Rest`,
      createDefaultStage: false,
      defaultIntegration: new HttpLambdaIntegration('Function', handler),
      corsPreflight: CORS,
    });
    acknowledge(this.api, 'AwsSolutions-APIG4', 'The function checks API keys, and answers who has none with problem details.');
    this.stage(settings);
    this.url = this.api.apiEndpoint;
  }

  private stage(settings: Settings): void {
    new gateway.HttpStage(this, 'Stage', {
      httpApi: this.api,
      stageName: '$default',
      autoDeploy: true,
      throttle: { rateLimit: 500, burstLimit: 500 },
      accessLogSettings: accessLog(this, settings, {
        method: '$context.httpMethod',
        path: '$context.path',
        status: '$context.status',
        latency_ms: '$context.responseLatency',
        bytes: '$context.responseLength',
      }),
    });
  }
}

/** Any page may call: who may do what is decided by the key alone, which no browser adds by itself. */
const CORS: gateway.CorsPreflightOptions = {
  allowOrigins: ['*'],
  allowMethods: [gateway.CorsHttpMethod.GET, gateway.CorsHttpMethod.POST, gateway.CorsHttpMethod.DELETE],
  allowHeaders: ['accept', 'authorization', 'content-type', 'idempotency-key'],
  exposeHeaders: ['link', 'x-request-id'],
  maxAge: Duration.hours(1),
};
