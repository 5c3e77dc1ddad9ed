import { describe, expect, it } from 'vitest';
import { resource, templates } from './deployment.ts';

const { fargate } = templates();
const task = resource(fargate, 'AWS::ECS::TaskDefinition').Properties;
const [container] = task.ContainerDefinitions;
const service = resource(fargate, 'AWS::ECS::Service').Properties;

describe('ingest', () => {
  it('runs on arm64, without root and with nothing to write to', () => {
    expect(task.RuntimePlatform).toEqual({ CpuArchitecture: 'ARM64', OperatingSystemFamily: 'LINUX' });
    expect(container).toMatchObject({ User: '65532:65532', ReadonlyRootFilesystem: true, Command: ['ingest'] });
    expect(container.Privileged ?? false).toBe(false);
  });

  it('is asked for its health by its own binary', () => {
    expect(container.HealthCheck.Command).toEqual(['CMD', '/bond-cloud', 'healthy']);
  });

  it('has one task to lead and one to stand by, replaced one after the other, and rolled back', () => {
    expect(service.DesiredCount).toBe(2);
    expect(service.DeploymentConfiguration).toMatchObject({
      MinimumHealthyPercent: 50,
      MaximumPercent: 100,
      DeploymentCircuitBreaker: { Enable: true, Rollback: true },
    });
  });

  it('goes out by public addresses of its own, in the group that admits nobody', () => {
    const { AssignPublicIp, Subnets, SecurityGroups } = service.NetworkConfiguration.AwsvpcConfiguration;
    expect(AssignPublicIp).toBe('ENABLED');
    Subnets.forEach((id: object) => expect(JSON.stringify(id)).toContain('VpcPublicSubnet'));
    expect(JSON.stringify(SecurityGroups)).toContain('Ingest');
    expect(service.LoadBalancers ?? []).toEqual([]);
    expect(container.PortMappings ?? []).toEqual([]);
  });

  it('is told where its secrets are, and none of them', () => {
    const variables = (container.Environment as { Name: string }[]).map(({ Name }) => Name).sort();
    expect(variables).toEqual(
      [
        'BOND_API_KEYS_SECRET',
        'BOND_DEPLOYMENT',
        'BOND_KEYS_SECONDS',
        'BOND_FANOUT_FUNCTION',
        'BOND_FEED_SYMBOLS',
        'BOND_HEARTBEAT_SECONDS',
        'BOND_PROBE_SECONDS',
        'BOND_LOG',
        'BOND_LOG_FORMAT',
        'BOND_MAX_LAG_MS',
        'BOND_REDIS_AUTH_SECRET',
        'BOND_RING_MIB',
        'BOND_RING_SECONDS',
        'BOND_TABLE_CONNECTIONS',
        'BOND_TABLE_STREAMS',
        'BOND_WS_CALLBACK_URL',
        'REDIS_URL',
      ].sort(),
    );
    expect(container.Secrets).toBeUndefined();
    expect(JSON.stringify(container.Environment)).not.toContain('{{resolve:');
  });

  it('runs the image of the parameter', () => {
    const [[name, parameter]] = Object.entries(fargate.findParameters('ImageTag')) as [[string, { Default: string }]];
    expect(parameter.Default).toMatch(/^\d+\.\d+\.\d+$/);
    expect(JSON.stringify(container.Image)).toContain(`{"Ref":"${name}"}`);
  });
});
