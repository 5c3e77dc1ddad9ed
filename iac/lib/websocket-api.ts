import * as gateway from 'aws-cdk-lib/aws-apigatewayv2';
import { WebSocketLambdaIntegration, WebSocketMockIntegration } from 'aws-cdk-lib/aws-apigatewayv2-integrations';
import { ManagedPolicy, Role, ServicePrincipal } from 'aws-cdk-lib/aws-iam';
import { CfnAccount } from 'aws-cdk-lib/aws-apigateway';
import type { IFunction } from 'aws-cdk-lib/aws-lambda';
import { Construct } from 'constructs';
import { accessLog } from './access-log.ts';
import { acknowledge } from './acknowledge.ts';
import type { Settings } from './settings.ts';
import { limitRoutes, throttle, WEB_SOCKET_LIMITS } from './throttle.ts';

/** The name of the one stage: the path of both its URLs. */
export const STAGE = 'v1';

/** What the routes call. */
export interface Routes {
  connect: IFunction;
  disconnect: IFunction;
  message: IFunction;
}

/**
 * WebSockets: `$connect`, `$disconnect`, everything else to one function, and `ping`, which API Gateway answers by itself.
 *
 * The function's answers to messages travel back through the route's response. To `$connect` nothing but headers can be answered.
 */
export class WebSockets extends Construct {
  readonly api: gateway.WebSocketApi;
  readonly stage: gateway.WebSocketStage;

  constructor(scope: Construct, id: string, settings: Settings) {
    super(scope, id);
    this.api = new gateway.WebSocketApi(this, 'Api', {
      apiName: `${settings.name}WebSockets`,
      routeSelectionExpression: '$request.body.type',
    });
    acknowledge(this.api, 'AwsSolutions-APIG4', "$connect's function checks token or key; the other routes are those of connections it admitted.");
    this.stage = this.deployed(settings);
  }

  /** Adds the routes. Apart from the constructor, since their functions need the API's URLs. */
  route(routes: Routes): void {
    const made = [
      this.api.addRoute('$connect', { integration: new WebSocketLambdaIntegration('Connect', routes.connect) }),
      this.api.addRoute('$disconnect', { integration: new WebSocketLambdaIntegration('Disconnect', routes.disconnect) }),
      this.api.addRoute('$default', {
        integration: new WebSocketLambdaIntegration('Message', routes.message),
        returnResponse: true,
      }),
      this.ping(),
    ];
    limitRoutes(this.stage, WEB_SOCKET_LIMITS, made);
  }

  private ping(): gateway.WebSocketRoute {
    const integration = new WebSocketMockIntegration('Ping', {
      requestTemplates: { '200': '{"statusCode":200}' },
      templateSelectionExpression: '200',
    });
    const route = this.api.addRoute('ping', { integration, returnResponse: true });
    const made = route.node.findChild('Ping').node.defaultChild as gateway.CfnIntegration;
    new gateway.CfnIntegrationResponse(this, 'Pong', {
      apiId: this.api.apiId,
      integrationId: made.ref,
      integrationResponseKey: '$default',
      responseTemplates: { '200': '{"type":"pong"}' },
      templateSelectionExpression: '200',
    });
    return route;
  }

  private deployed(settings: Settings): gateway.WebSocketStage {
    const stage = new gateway.WebSocketStage(this, 'Stage', {
      webSocketApi: this.api,
      stageName: STAGE,
      autoDeploy: true,
      throttle: throttle(WEB_SOCKET_LIMITS['$default']!),
      accessLogSettings: accessLog(this, settings, {
        event: '$context.eventType',
        route: '$context.routeKey',
        connection: '$context.connectionId',
        status: '$context.status',
      }),
    });
    if (settings.gatewayLogRole) stage.node.addDependency(this.logRole());
    return stage;
  }

  /** WebSocket APIs write logs by a role that the account has once per region; without it the stage cannot be made. */
  private logRole(): CfnAccount {
    const role = new Role(this, 'LogRole', {
      assumedBy: new ServicePrincipal('apigateway.amazonaws.com'),
      managedPolicies: [ManagedPolicy.fromAwsManagedPolicyName('service-role/AmazonAPIGatewayPushToCloudWatchLogs')],
    });
    const policy = 'Policy::arn:<AWS::Partition>:iam::aws:policy/service-role/AmazonAPIGatewayPushToCloudWatchLogs';
    acknowledge(role, `AwsSolutions-IAM4[${policy}]`, 'The policy that API Gateway asks for: it serves all APIs of the account.');
    return new CfnAccount(this, 'Account', { cloudWatchRoleArn: role.roleArn });
  }
}
