import { CfnOutput, Duration, Stack, type StackProps } from 'aws-cdk-lib';
import type { Construct } from 'constructs';
import type { CacheStack } from './cache.ts';
import type { DataStack } from './data.ts';
import { BondFunction, type FunctionName, type FunctionProps } from './function.ts';
import { manageConnections, onTable, reading } from './grants.ts';
import type { NetStack } from './net.ts';
import type { RedisRole } from './redis-users.ts';
import { RestApi } from './rest-api.ts';
import type { ProcessSetting, Settings } from './settings.ts';
import { WebSockets } from './websocket-api.ts';

/** What the functions are given. */
export interface RealtimeProps extends StackProps {
  settings: Settings;
  net: NetStack;
  data: DataStack;
  cache: CacheStack;
}

/** The serverless edge: both APIs and the five functions. */
export class RealtimeStack extends Stack {
  readonly webSockets: WebSockets;
  readonly rest: RestApi;
  readonly functions: Record<FunctionName, BondFunction>;

  constructor(
    scope: Construct,
    id: string,
    private readonly props: RealtimeProps,
  ) {
    super(scope, id, props);
    this.webSockets = new WebSockets(this, 'WebSockets', props.settings);
    this.functions = {
      api: this.api(),
      ws_connect: this.connect(),
      ws_disconnect: this.disconnect(),
      ws_message: this.message(),
      fanout: this.fanout(),
    };
    this.rest = new RestApi(this, 'Rest', this.functions.api.handler, props.settings);
    this.webSockets.route({
      connect: this.functions.ws_connect.handler,
      disconnect: this.functions.ws_disconnect.handler,
      message: this.functions.ws_message.handler,
    });
    this.outputs();
  }

  private api(): BondFunction {
    const { data } = this.props;
    return this.inside('Api', 'api', 'REST: streams, tokens, metrics', {
      memory: 512,
      environment: {
        ...this.redis('api'),
        ...this.keys(),
        ...this.streamsTable(),
        BOND_WS_URL: this.webSockets.stage.url,
        ...this.set('BOND_TOKEN_TTL', 'BOND_MAX_STREAMS'),
      },
      reserved: this.props.settings.apiConcurrency,
      statements: [
        onTable(data.streams, 'DeleteItem', 'GetItem', 'PutItem', 'Query'),
        reading(data.redisPasswords.api, data.tokenKeys, data.apiKeys, data.issuerKeys),
      ],
    });
  }

  private connect(): BondFunction {
    const { data } = this.props;
    return this.inside('Connect', 'ws_connect', 'Admits a WebSocket and keeps what it asked for', {
      memory: 256,
      environment: { ...this.redis('functions'), ...this.keys(), ...this.streamsTable(), ...this.connectionsTable() },
      reserved: this.props.settings.connectConcurrency,
      statements: [
        onTable(data.streams, 'GetItem', 'Query'),
        onTable(data.connections, 'PutItem'),
        reading(data.redisPasswords.functions, data.tokenKeys, data.apiKeys, data.issuerKeys),
      ],
    });
  }

  private disconnect(): BondFunction {
    const { data } = this.props;
    return this.inside('Disconnect', 'ws_disconnect', 'Forgets a WebSocket', {
      memory: 256,
      environment: { ...this.redis('functions'), ...this.connectionsTable() },
      statements: [onTable(data.connections, 'DeleteItem'), reading(data.redisPasswords.functions)],
    });
  }

  private message(): BondFunction {
    const { data } = this.props;
    return this.inside('Message', 'ws_message', "Takes a client's message and answers it", {
      memory: 256,
      environment: { ...this.redis('functions'), ...this.keys(), ...this.connectionsTable() },
      reserved: this.props.settings.messageConcurrency,
      statements: [
        onTable(data.connections, 'GetItem', 'PutItem'),
        reading(data.redisPasswords.functions, data.tokenKeys, data.apiKeys, data.issuerKeys),
      ],
    });
  }

  /** Outside of the network, which has no way to `@connections`; it reads neither secrets nor tables. */
  private fanout(): BondFunction {
    const { api, stage } = this.webSockets;
    const fanout = new BondFunction(this, 'Fanout', {
      name: 'fanout',
      description: 'Posts runs of messages to connections',
      settings: this.props.settings,
      memory: 1769,
      // More than the relay's lease of 10 s: an invocation ends by its own budget, not by this.
      timeout: Duration.seconds(15),
      environment: { BOND_WS_CALLBACK_URL: stage.callbackUrl, ...this.set('BOND_POSTS_PER_SECOND', ...LOGGING) },
      statements: [],
      reserved: this.props.settings.fanoutConcurrency,
    });
    manageConnections(this, 'FanoutConnections', fanout.role, { api, stage: stage.stageName, verbs: ['POST', 'DELETE'] });
    return fanout;
  }

  private inside(
    id: string,
    name: FunctionName,
    description: string,
    props: Pick<FunctionProps, 'memory' | 'environment' | 'statements' | 'reserved'>,
  ): BondFunction {
    const { settings, net } = this.props;
    const environment = { ...props.environment, ...this.set(...LOGGING) };
    const whole: FunctionProps = { ...props, name, description, environment, settings, net, timeout: Duration.seconds(10) };
    return new BondFunction(this, id, whole);
  }

  private redis(role: RedisRole): Record<string, string> {
    return { REDIS_URL: this.props.cache.url(role), BOND_REDIS_AUTH_SECRET: this.props.data.redisPasswords[role].secretArn };
  }

  private connectionsTable(): Record<string, string> {
    return { BOND_TABLE_CONNECTIONS: this.props.data.connections.tableName };
  }

  private streamsTable(): Record<string, string> {
    return { BOND_TABLE_STREAMS: this.props.data.streams.tableName };
  }

  /** What it takes to check tokens and API keys. */
  private keys(): Record<string, string> {
    const { tokenKeys, apiKeys, issuerKeys } = this.props.data;
    return {
      BOND_TOKEN_KEYS_SECRET: tokenKeys.secretArn,
      BOND_API_KEYS_SECRET: apiKeys.secretArn,
      BOND_JWT_KEYS_SECRET: issuerKeys.secretArn,
      ...this.claims(),
      ...this.set('BOND_LEGACY_TOKENS'),
    };
  }

  /** What is asked of the claims of tokens for topics, as far as it is set. */
  private claims(): Record<string, string> {
    const { jwtIssuer, jwtAudience } = this.props.settings;
    return {
      ...(jwtIssuer ? { BOND_JWT_ISSUER: jwtIssuer } : {}),
      ...(jwtAudience ? { BOND_JWT_AUDIENCE: jwtAudience } : {}),
    };
  }

  private set(...names: ProcessSetting[]): Record<string, string> {
    const { processes, name } = this.props.settings;
    return { BOND_DEPLOYMENT: name, ...Object.fromEntries(names.map((setting) => [setting, processes[setting]])) };
  }

  private outputs(): void {
    new CfnOutput(this, 'RestUrl', { value: this.rest.url });
    new CfnOutput(this, 'WebSocketUrl', { value: this.webSockets.stage.url });
    new CfnOutput(this, 'CallbackUrl', { value: this.webSockets.stage.callbackUrl });
    for (const { handler } of Object.values(this.functions)) {
      new CfnOutput(this, `${handler.node.scope?.node.id}FunctionName`, { value: handler.functionName });
    }
  }
}

const LOGGING: ProcessSetting[] = ['BOND_LOG', 'BOND_LOG_FORMAT'];
