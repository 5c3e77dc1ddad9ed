import type { CfnStage, IStage } from 'aws-cdk-lib/aws-apigatewayv2';
import type { IDependable } from 'constructs';
import limits from './throttles.json' with { type: 'json' };

/** How many requests a second a route takes, and how many at once: a token bucket. API Gateway answers 429 to the others. */
export interface Limit {
  rate: number;
  burst: number;
}

/** The limit of each route, by its key. Every route has one of its own, so that a flood on one leaves room on the others. */
export const WEB_SOCKET_LIMITS: Record<string, Limit> = limits.webSockets;

/** The same of REST. What asks for no key and is cheap for nobody but the caller is limited most. */
export const REST_LIMITS: Record<string, Limit> = limits.rest;

/** What CDK takes as a stage's limit, for routes that have none of their own. */
export function throttle({ rate, burst }: Limit) {
  return { rateLimit: rate, burstLimit: burst };
}

/** Limits the routes of a stage. A stage cannot name a route that is not there yet, so it waits for `routes`. */
export function limitRoutes(stage: IStage, limits: Record<string, Limit>, routes: IDependable[]): void {
  const settings = Object.entries(limits).map(([key, { rate, burst }]) => [key, { ThrottlingRateLimit: rate, ThrottlingBurstLimit: burst }]);
  (stage.node.defaultChild as CfnStage).routeSettings = Object.fromEntries(settings);
  stage.node.addDependency(...routes);
}
