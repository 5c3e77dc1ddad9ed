import { RemovalPolicy } from 'aws-cdk-lib';
import { type IAccessLogSettings, LogGroupLogDestination } from 'aws-cdk-lib/aws-apigatewayv2';
import { AccessLogFormat } from 'aws-cdk-lib/aws-apigateway';
import { LogGroup } from 'aws-cdk-lib/aws-logs';
import type { Construct } from 'constructs';
import type { Settings } from './settings.ts';

/** An access log of JSON lines. Query strings are left out of it: they hold tokens. */
export function accessLog(scope: Construct, settings: Settings, fields: Record<string, string>): IAccessLogSettings {
  const group = new LogGroup(scope, 'AccessLog', { retention: settings.logDays, removalPolicy: RemovalPolicy.DESTROY });
  const line = {
    time: '$context.requestTime',
    request_id: '$context.requestId',
    ip: '$context.identity.sourceIp',
    ...fields,
    error: '$context.integrationErrorMessage',
  };
  return { destination: new LogGroupLogDestination(group), format: AccessLogFormat.custom(JSON.stringify(line)) };
}
