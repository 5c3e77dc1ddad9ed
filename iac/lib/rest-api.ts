import { Duration } from 'aws-cdk-lib';
import * as gateway from 'aws-cdk-lib/aws-apigatewayv2';
import { HttpLambdaIntegration } from 'aws-cdk-lib/aws-apigatewayv2-integrations';
import type { IFunction } from 'aws-cdk-lib/aws-lambda';
import { Construct } from 'constructs';
import { accessLog } from './access-log.ts';
import { acknowledge } from './acknowledge.ts';
import type { Settings } from './settings.ts';
import { limitRoutes, REST_LIMITS, throttle } from './throttle.ts';

/** REST: every path to one function, which routes. Those that need no key have routes of their own, for their limits. */
export class RestApi extends Construct {
  readonly api: gateway.HttpApi;
  /** Where REST answers, without a slash at its end. */
  readonly url: string;

  constructor(scope: Construct, id: string, handler: IFunction, settings: Settings) {
    super(scope, id);
    const integration = new HttpLambdaIntegration('Function', handler, { scopePermissionToRoute: false });
    this.api = new gateway.HttpApi(this, 'Api', {
      apiName: `${settings.name}Rest`,
      createDefaultStage: false,
      defaultIntegration: integration,
      corsPreflight: CORS,
    });
    acknowledge(this.api, 'AwsSolutions-APIG4', 'The function checks API keys, and answers who has none with problem details.');
    this.stage(settings, this.keyless(integration));
    this.url = this.api.apiEndpoint;
  }

  /** Routes of what needs no key: so many of REST's limits name a method. */
  private keyless(integration: HttpLambdaIntegration): gateway.HttpRoute[] {
    const paths = Object.keys(REST_LIMITS).filter((key) => key.startsWith('GET '));
    return paths.flatMap((key) => this.api.addRoutes({ path: key.slice(4), methods: [gateway.HttpMethod.GET], integration }));
  }

  private stage(settings: Settings, routes: gateway.HttpRoute[]): void {
    const stage = new gateway.HttpStage(this, 'Stage', {
      httpApi: this.api,
      stageName: '$default',
      autoDeploy: true,
      throttle: throttle(REST_LIMITS['$default']!),
      accessLogSettings: accessLog(this, settings, {
        method: '$context.httpMethod',
        path: '$context.path',
        status: '$context.status',
        latency_ms: '$context.responseLatency',
        bytes: '$context.responseLength',
      }),
    });
    limitRoutes(stage, REST_LIMITS, [this.api.node.findChild('DefaultRoute'), ...routes]);
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
