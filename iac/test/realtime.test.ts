import { describe, expect, it } from 'vitest';
import { FUNCTIONS, type Resource, resource, resources, templates } from './deployment.ts';

const { realtime } = templates();
const named: Record<string, string> = { api: 'Api', ws_connect: 'Connect', ws_disconnect: 'Disconnect', ws_message: 'Message', fanout: 'Fanout' };
const properties = (name: string) => resource(realtime, 'AWS::Lambda::Function', named[name]).Properties;

describe('functions', () => {
  it.each(FUNCTIONS)('%s is native, on arm64, with a log group of its own', (name) => {
    const { Runtime, Architectures, Handler, LoggingConfig } = properties(name);
    expect([Runtime, Architectures, Handler]).toEqual(['provided.al2023', ['arm64'], 'bootstrap']);
    expect(LoggingConfig.LogGroup.Ref).toMatch(new RegExp(`^${named[name]}Log`));
  });

  it.each(FUNCTIONS.filter((name) => name !== 'fanout'))('%s runs in the private subnets, with IPv6', (name) => {
    const { VpcConfig } = properties(name);
    expect(VpcConfig.Ipv6AllowedForDualStack).toBe(true);
    expect(VpcConfig.SubnetIds).toHaveLength(2);
    VpcConfig.SubnetIds.forEach((id: object) => expect(JSON.stringify(id)).toContain('VpcPrivateSubnet'));
    expect(JSON.stringify(VpcConfig.SecurityGroupIds)).toContain('Functions');
  });

  it('fan out from outside of the network, with places of their own for all lanes', () => {
    expect(properties('fanout').VpcConfig).toBeUndefined();
    expect(properties('fanout').ReservedConcurrentExecutions).toBe(24);
    expect(properties('fanout').Timeout).toBeGreaterThan(10);
  });

  it('have bounds of their own, so that none takes all of the account', () => {
    const reserved = FUNCTIONS.map((name) => [name, properties(name).ReservedConcurrentExecutions]);
    expect(Object.fromEntries(reserved)).toEqual({ api: 50, ws_connect: 100, ws_message: 100, fanout: 24 });
  });

  it('reserve nothing where told so', () => {
    const small = templates({ fanoutConcurrency: '0', apiConcurrency: '0', connectConcurrency: '0', messageConcurrency: '0' }).realtime;
    for (const [, { Properties }] of resources(small, 'AWS::Lambda::Function')) expect(Properties.ReservedConcurrentExecutions).toBeUndefined();
  });

  it('are told what they need and no more', () => {
    const every = ['BOND_DEPLOYMENT', 'BOND_LOG', 'BOND_LOG_FORMAT'];
    const redis = ['BOND_REDIS_AUTH_SECRET', 'REDIS_URL'];
    const keys = ['BOND_API_KEYS_SECRET', 'BOND_JWT_KEYS_SECRET', 'BOND_LEGACY_TOKENS', 'BOND_TOKEN_KEYS_SECRET'];
    const expected: Record<string, string[]> = {
      api: [...redis, ...keys, 'BOND_MAX_STREAMS', 'BOND_TABLE_STREAMS', 'BOND_TOKEN_TTL', 'BOND_WS_URL'],
      ws_connect: [...redis, ...keys, 'BOND_TABLE_CONNECTIONS', 'BOND_TABLE_STREAMS'],
      ws_message: [...redis, ...keys, 'BOND_TABLE_CONNECTIONS'],
      ws_disconnect: [...redis, 'BOND_TABLE_CONNECTIONS'],
      fanout: ['BOND_POSTS_PER_SECOND', 'BOND_WS_CALLBACK_URL'],
    };
    for (const name of FUNCTIONS) {
      const names = Object.keys(properties(name).Environment.Variables);
      expect(names.sort(), name).toEqual([...every, ...expected[name]!].sort());
    }
  });

  it('read secrets themselves: no environment holds one', () => {
    for (const name of FUNCTIONS) expect(JSON.stringify(properties(name).Environment)).not.toContain('{{resolve:');
  });
});

describe('REST', () => {
  const api = resource(realtime, 'AWS::ApiGatewayV2::Api', 'Rest').Properties;
  const stage = resource(realtime, 'AWS::ApiGatewayV2::Stage', 'Rest').Properties;

  it('sends every path to the function', () => {
    const routes = resources(realtime, 'AWS::ApiGatewayV2::Route').filter(([id]) => id.startsWith('Rest'));
    const keys = routes.map(([, route]) => route.Properties.RouteKey).sort();
    expect(keys).toEqual(['$default', 'GET /', 'GET /asyncapi.json', 'GET /health', 'GET /metrics', 'GET /openapi.json', 'GET /ready']);
    expect(new Set(routes.map(([, route]) => JSON.stringify(route.Properties.Target))).size).toBe(1);
    expect(stage.StageName).toBe('$default');
  });

  it('lets pages call, and not with cookies', () => {
    expect(api.CorsConfiguration.AllowOrigins).toEqual(['*']);
    expect(api.CorsConfiguration.AllowMethods).toEqual(['GET', 'POST', 'DELETE']);
    expect(api.CorsConfiguration.AllowHeaders).toContain('authorization');
    expect(api.CorsConfiguration.AllowCredentials).toBeUndefined();
  });
});

describe('WebSockets', () => {
  const routes = resources(realtime, 'AWS::ApiGatewayV2::Route').filter(([id]) => id.startsWith('WebSockets'));
  const route = (key: string) => routes.find(([, { Properties }]) => Properties.RouteKey === key)!;

  it('choose the route by the type of the message', () => {
    const api = resource(realtime, 'AWS::ApiGatewayV2::Api', 'WebSockets').Properties;
    expect(api).toMatchObject({ ProtocolType: 'WEBSOCKET', RouteSelectionExpression: '$request.body.type' });
    expect(routes.map(([, { Properties }]) => Properties.RouteKey).sort()).toEqual(['$connect', '$default', '$disconnect', 'ping']);
  });

  it('answer messages through the route alone', () => {
    const answering = resources(realtime, 'AWS::ApiGatewayV2::RouteResponse').map(([, { Properties }]) => Properties.RouteId.Ref);
    expect(answering.sort()).toEqual([route('$default')[0], route('ping')[0]].sort());
    for (const key of ['$default', 'ping']) expect(route(key)[1].Properties.RouteResponseSelectionExpression).toBe('$default');
  });

  it('answer pings without a function', () => {
    const target = route('ping')[1].Properties.Target['Fn::Join'][1][1].Ref;
    const integration = realtime.findResources('AWS::ApiGatewayV2::Integration')[target]!['Properties'];
    expect(integration).toMatchObject({ IntegrationType: 'MOCK', RequestTemplates: { '200': '{"statusCode":200}' }, TemplateSelectionExpression: '200' });
    const response = resource(realtime, 'AWS::ApiGatewayV2::IntegrationResponse').Properties;
    expect(response.IntegrationId.Ref).toBe(target);
    expect(response).toMatchObject({ IntegrationResponseKey: '$default', TemplateSelectionExpression: '200' });
    expect(JSON.parse(response.ResponseTemplates['200'])).toEqual({ type: 'pong' });
  });

  it('may call each function by its own route only', () => {
    const permissions = resources(realtime, 'AWS::Lambda::Permission').map(([, { Properties }]) => Properties);
    expect(permissions).toHaveLength(4);
    for (const permission of permissions) {
      expect(permission.Principal).toBe('apigateway.amazonaws.com');
      expect(permission.SourceArn).toBeDefined();
    }
    const sources = permissions.map((permission) => JSON.stringify(permission.SourceArn));
    for (const key of ['$connect', '$disconnect', '$default']) expect(sources.filter((arn) => arn.includes(`*${key}"`))).toHaveLength(1);
  });
});

describe('stages', () => {
  it.each(['Rest', 'WebSockets'])('%s deploys itself, throttles and logs without tokens', (name) => {
    const stage = resource(realtime, 'AWS::ApiGatewayV2::Stage', name).Properties;
    expect(stage.AutoDeploy).toBe(true);
    expect(JSON.stringify(stage.AccessLogSettings.DestinationArn)).toContain('AccessLog');
    expect(stage.AccessLogSettings.Format).not.toMatch(/query|routeKey.*\?|authorization/i);
    expect(() => JSON.parse(stage.AccessLogSettings.Format)).not.toThrow();
  });

  it.each(['Rest', 'WebSockets'])('%s limits every route by itself, and waits for the routes', (name) => {
    const [[id, stage]] = resources(realtime, 'AWS::ApiGatewayV2::Stage').filter(([each]) => each.startsWith(name)) as [[string, Resource]];
    const routes = resources(realtime, 'AWS::ApiGatewayV2::Route').filter(([each]) => each.startsWith(name));
    const keys = routes.map(([, { Properties }]) => Properties.RouteKey).sort();
    expect(Object.keys(stage.Properties.RouteSettings).sort()).toEqual(keys);
    for (const limit of Object.values<any>(stage.Properties.RouteSettings)) {
      expect(limit.ThrottlingRateLimit).toBeGreaterThan(0);
      expect(limit.ThrottlingBurstLimit).toBeGreaterThanOrEqual(limit.ThrottlingRateLimit);
    }
    expect(realtime.toJSON()['Resources'][id].DependsOn).toEqual(expect.arrayContaining(routes.map(([route]) => route)));
  });

  it('leave room to connect while pings and messages are at their limits', () => {
    const limits = resource(realtime, 'AWS::ApiGatewayV2::Stage', 'WebSockets').Properties.RouteSettings;
    expect(limits['ping']).toEqual({ ThrottlingRateLimit: 500, ThrottlingBurstLimit: 500 });
    expect(limits['$default'].ThrottlingRateLimit).toBe(500);
    // As many as connect may leave at once.
    expect(limits['$disconnect'].ThrottlingRateLimit).toBeGreaterThan(limits['$connect'].ThrottlingRateLimit);
  });

  it('take few of those that need no key', () => {
    const { $default: all, ...keyless } = resource(realtime, 'AWS::ApiGatewayV2::Stage', 'Rest').Properties.RouteSettings;
    for (const limit of Object.values<any>(keyless)) expect(limit.ThrottlingRateLimit).toBeLessThanOrEqual(all.ThrottlingRateLimit / 25);
  });

  it("set the account's role for logs before the stage that needs it, unless told not to", () => {
    const [[id]] = resources(realtime, 'AWS::ApiGatewayV2::Stage').filter(([name]) => name.startsWith('WebSockets')) as [[string, object]];
    expect(JSON.stringify(realtime.toJSON()['Resources'][id].DependsOn)).toContain('Account');
    templates({ gatewayLogRole: 'false' }).realtime.resourceCountIs('AWS::ApiGateway::Account', 0);
  });
});
