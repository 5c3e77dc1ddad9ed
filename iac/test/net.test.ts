import { describe, expect, it } from 'vitest';
import { resource, resources, templates } from './deployment.ts';

const { net, cache } = templates();

describe('network', () => {
  it('has no NAT gateway, and a way out over IPv6 alone for what is private', () => {
    net.resourceCountIs('AWS::EC2::NatGateway', 0);
    const routes = resources(net, 'AWS::EC2::Route').filter(([id]) => id.includes('Private'));
    expect(routes).toHaveLength(2);
    for (const [, { Properties: route }] of routes) {
      expect(route.DestinationIpv6CidrBlock).toBe('::/0');
      expect(route.EgressOnlyInternetGatewayId).toBeDefined();
      expect(route.DestinationCidrBlock).toBeUndefined();
    }
  });

  it('has two public and two private subnets with addresses of both kinds', () => {
    const subnets = resources(net, 'AWS::EC2::Subnet');
    expect(subnets).toHaveLength(4);
    for (const [, { Properties: subnet }] of subnets) {
      expect(subnet.CidrBlock).toBeDefined();
      expect(subnet.Ipv6CidrBlock).toBeDefined();
    }
  });

  it("leads to DynamoDB through its endpoint from every subnet's table", () => {
    const endpoint = resource(net, 'AWS::EC2::VPCEndpoint').Properties;
    expect(JSON.stringify(endpoint.ServiceName)).toContain('.dynamodb');
    expect(endpoint.VpcEndpointType).toBe('Gateway');
    expect(endpoint.RouteTableIds).toHaveLength(4);
  });

  it('admits nothing but Redis, and that from two groups', () => {
    for (const [, { Properties: group }] of resources(net, 'AWS::EC2::SecurityGroup')) {
      expect(group.SecurityGroupIngress).toBeUndefined();
    }
    const rules = resources(net, 'AWS::EC2::SecurityGroupIngress').map(([, rule]) => rule.Properties);
    expect(rules.map((rule) => rule.SourceSecurityGroupId['Fn::GetAtt'][0].replace(/[0-9A-F]{8}$/, '')).sort()).toEqual(['Functions', 'Ingest']);
    for (const rule of rules) {
      expect(rule.GroupId['Fn::GetAtt'][0]).toMatch(/^Cache/);
      expect([rule.FromPort, rule.ToPort, rule.IpProtocol]).toEqual([6379, 6379, 'tcp']);
      expect(rule.CidrIp ?? rule.CidrIpv6).toBeUndefined();
    }
  });

  it('lets functions out by HTTPS and to Redis only', () => {
    const group = resource(net, 'AWS::EC2::SecurityGroup', 'Functions').Properties;
    expect(group.SecurityGroupEgress.map((rule: { FromPort: number; ToPort: number }) => [rule.FromPort, rule.ToPort])).toEqual([
      [443, 443],
      [443, 443],
    ]);
    expect(resource(net, 'AWS::EC2::SecurityGroupEgress').Properties.FromPort).toBe(6379);
  });
});

describe('Redis', () => {
  const group = resource(cache, 'AWS::ElastiCache::ReplicationGroup').Properties;

  it('is Valkey with a replica in another zone that takes over', () => {
    expect(group).toMatchObject({ Engine: 'valkey', NumCacheClusters: 2, AutomaticFailoverEnabled: true, MultiAZEnabled: true });
    expect(group.SnapshotRetentionLimit).toBeGreaterThan(0);
  });

  it('is encrypted and admits the users of its group alone', () => {
    expect(group).toMatchObject({ TransitEncryptionEnabled: true, TransitEncryptionMode: 'required', AtRestEncryptionEnabled: true });
    expect(group.AuthToken).toBeUndefined();
    expect(group.UserGroupIds).toEqual([{ Ref: 'Users' }]);
    const ids = resources(cache, 'AWS::ElastiCache::User').map(([id]) => ({ Ref: id }));
    expect(resource(cache, 'AWS::ElastiCache::UserGroup').Properties.UserIds).toEqual(expect.arrayContaining(ids));
  });

  it('knows each role by a password of its own, and nobody without a name', () => {
    const users = resources(cache, 'AWS::ElastiCache::User').map(([, { Properties }]) => Properties);
    expect(users.map(({ UserName }) => UserName).sort()).toEqual(['api', 'default', 'edge', 'functions', 'ingest']);
    for (const { AuthenticationMode } of users) expect(JSON.stringify(AuthenticationMode)).toContain('{{resolve:secretsmanager:');
    const own = users.filter(({ UserName }) => UserName !== 'default').map(({ AuthenticationMode }) => JSON.stringify(AuthenticationMode));
    expect(new Set(own).size).toBe(4);
    expect(users.find(({ UserName }) => UserName === 'default').AccessString).toBe('off -@all');
  });

  it('lets each role at its own keys, with the commands of its work', () => {
    const users = resources(cache, 'AWS::ElastiCache::User').map(([, { Properties }]) => [Properties.UserName, Properties.AccessString]);
    const access = Object.fromEntries(users) as Record<string, string>;
    const keys = (role: string) => access[role]!.split(' ').filter((rule) => rule.startsWith('~'));
    expect(keys('functions')).toEqual(['~bond:control', '~bond:subscriptions:*']);
    expect(keys('api')).toEqual(['~bond:control', '~bond:publish', '~bond:vitals', '~bond:lease', '~bond:ping']);
    expect(access['api'], 'reads topics and does not write them').toContain(' %R~bond:{*}:published* ');
    // Whoever sends a command holds the commands to their bound, by XTRIM.
    for (const role of ['api', 'edge', 'functions']) {
      expect(access[role]).toMatch(/ -@all /);
      expect(access[role]).not.toMatch(/\+(set|del|xdel|@write|@all)( |$)/);
    }
    expect(access['ingest']).toContain('-@admin -@dangerous');
  });

  it('never evicts', () => {
    expect(resource(cache, 'AWS::ElastiCache::ParameterGroup').Properties.Properties).toEqual({ 'maxmemory-policy': 'noeviction' });
    expect(group.CacheParameterGroupName).toBeDefined();
  });
});
