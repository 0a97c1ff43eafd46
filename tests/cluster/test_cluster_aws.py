"""ray_cluster.yaml through Ray's own code for AWS, against moto's EC2 and IAM: what would really be
asked for.

Also what the check says of Ray's behaviour where the file leaves something out: the open group, the
wide role."""

import copy
import functools
import json
import re
from pathlib import Path

import pytest
import yaml

pytest.importorskip("moto")
pytest.importorskip("boto3")

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(300),
]  # Ray's and moto's AWS take long to import

REPOSITORY = Path(__file__).resolve().parents[2]
NAME = "va-search"
TAGS = {"ray-cluster-name": NAME}
CACHE = type(functools.lru_cache(lambda: None))


@pytest.fixture
def aws(monkeypatch, tmp_path):
    import boto3
    from moto import mock_aws
    from ray.autoscaler._private.aws import config, utils

    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "testing")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-west-2")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr(config.time, "sleep", lambda seconds: None)
    caches = [
        one for module in (config, utils) for one in vars(module).values() if isinstance(one, CACHE)
    ]
    assert caches
    for (
        cache
    ) in caches:  # Ray keeps its connections, and what they said, for as long as its process lives
        cache.cache_clear()
    with mock_aws(config={"iam": {"load_aws_managed_policies": True}}):
        yield boto3
    for cache in caches:
        cache.cache_clear()


def filled_in(boto3) -> tuple[dict, str]:
    """The shipped file with the names of things that exist in moto's account; and the group's
    id."""
    ec2, iam = boto3.client("ec2"), boto3.client("iam")
    vpc = ec2.describe_vpcs()["Vpcs"][0]["VpcId"]
    group = ec2.create_security_group(GroupName=NAME, Description=NAME, VpcId=vpc)["GroupId"]
    ec2.create_key_pair(KeyName=NAME)
    for name in ("va-search-head", "va-search-worker"):
        iam.create_instance_profile(InstanceProfileName=name)
    image = ec2.describe_images(Owners=["amazon"])["Images"][0]["ImageId"]
    text = (
        (REPOSITORY / "ray_cluster.yaml")
        .read_text()
        .replace("ami-FILL-IN", image)
        .replace("sg-FILL-IN", group)
    )
    return yaml.safe_load(text), group


def launched(document: dict, node_type: str) -> dict:
    """The one instance that Ray's provider starts for a node type."""
    from ray.autoscaler._private.aws.config import bootstrap_aws
    from ray.autoscaler._private.aws.node_provider import AWSNodeProvider
    from ray.autoscaler._private.util import prepare_config, validate_config

    config = prepare_config(copy.deepcopy(document))
    validate_config(config)
    config = bootstrap_aws(config)
    provider = AWSNodeProvider(config["provider"], config["cluster_name"])
    node = config["available_node_types"][node_type]["node_config"]
    if node_type == config["head_node_type"]:
        node = {**node, **config.get("head_node", {})}
    provider.create_node(node, {"ray-node-type": node_type}, 1)
    import boto3

    reservations = boto3.client("ec2").describe_instances()["Reservations"]
    return reservations[-1]["Instances"][0]


def test_shipped_file_asks_for_what_it_says(aws):
    document, group = filled_in(aws)
    before = len(aws.client("ec2").describe_security_groups()["SecurityGroups"])
    head = launched(document, "head")
    worker = launched(document, "gpu_worker")
    assert (head["InstanceType"], worker["InstanceType"]) == ("m7i.xlarge", "g6.xlarge")
    assert "InstanceLifecycle" not in head
    assert worker["InstanceLifecycle"] == "spot"
    for instance, profile in ((head, "va-search-head"), (worker, "va-search-worker")):
        assert [one["GroupId"] for one in instance["SecurityGroups"]] == [group]
        assert instance["IamInstanceProfile"]["Arn"].endswith(f"/{profile}")
        assert {tag["Key"]: tag["Value"] for tag in instance["Tags"]}.items() >= TAGS.items()
    assert len(aws.client("ec2").describe_security_groups()["SecurityGroups"]) == before, (
        "Ray made a group of its own"
    )
    assert (
        aws.client("ec2").describe_security_groups(GroupIds=[group])["SecurityGroups"][0][
            "IpPermissions"
        ]
        == []
    )
    assert aws.client("iam").list_roles()["Roles"] == [], "Ray made a role of its own"


def test_without_a_group_ray_opens_ssh_to_the_world_whatever_the_file_says(aws):
    document, _ = filled_in(aws)
    narrow = {
        "FromPort": 22,
        "ToPort": 22,
        "IpProtocol": "tcp",
        "IpRanges": [{"CidrIp": "203.0.113.7/32"}],
    }
    document["provider"]["security_group"] = {"GroupName": "other", "IpPermissions": [narrow]}
    for node in document["available_node_types"].values():
        del node["node_config"]["SecurityGroupIds"]
    head = launched(document, "head")
    ids = [one["GroupId"] for one in head["SecurityGroups"]]
    rules = aws.client("ec2").describe_security_groups(GroupIds=ids)["SecurityGroups"][0][
        "IpPermissions"
    ]
    spans = {
        span["CidrIp"] for rule in rules if rule.get("FromPort") == 22 for span in rule["IpRanges"]
    }
    assert "0.0.0.0/0" in spans


def test_without_a_profile_ray_makes_a_role_that_may_do_everything_and_gives_workers_none(aws):
    document, _ = filled_in(aws)
    for node in document["available_node_types"].values():
        del node["node_config"]["IamInstanceProfile"]
    head = launched(document, "head")
    assert "IamInstanceProfile" in head
    attached = aws.client("iam").list_attached_role_policies(RoleName="ray-autoscaler-v1")[
        "AttachedPolicies"
    ]
    assert {one["PolicyName"] for one in attached} == {"AmazonEC2FullAccess", "AmazonS3FullAccess"}
    assert "IamInstanceProfile" not in launched(document, "gpu_worker")


def policies() -> list[dict]:
    """The policies of docs/cluster.md."""
    page = (REPOSITORY / "docs/cluster.md").read_text()
    blocks = re.findall(
        r'^    \{\n      "Version".*?^    \}$', page, flags=re.MULTILINE | re.DOTALL
    )
    return [json.loads(block) for block in blocks]


def test_documented_policies_are_policies_and_narrow(aws):
    worker, head = policies()
    iam = aws.client("iam")
    for name, policy in (("worker", worker), ("head", head)):
        iam.create_policy(
            PolicyName=name, PolicyDocument=json.dumps(policy)
        )  # moto refuses malformed ones
        for statement in policy["Statement"]:
            actions = (
                statement["Action"]
                if isinstance(statement["Action"], list)
                else [statement["Action"]]
            )
            assert not any("*" in action for action in actions)
            only_looks = all("Describe" in action for action in actions)
            assert only_looks or statement["Resource"] != "*" or "Condition" in statement
    assert not any(
        "ec2:" in json.dumps(statement) or "iam:" in json.dumps(statement)
        for statement in worker["Statement"]
    )


def test_head_policy_covers_what_the_head_asks_of_ec2(aws):
    """Every call that Ray's provider makes to start, look at, name and end workers."""
    import botocore.client

    allowed = {
        action
        for statement in policies()[1]["Statement"]
        for action in (
            statement["Action"] if isinstance(statement["Action"], list) else [statement["Action"]]
        )
    }
    document, _ = filled_in(aws)
    from ray.autoscaler._private.aws.config import bootstrap_aws
    from ray.autoscaler._private.aws.node_provider import AWSNodeProvider
    from ray.autoscaler._private.util import prepare_config

    config = bootstrap_aws(prepare_config(document))
    called: set[str] = set()
    original = botocore.client.BaseClient._make_api_call

    def listening(self, operation, arguments):
        called.add(f"{self.meta.service_model.service_name}:{operation}")
        return original(self, operation, arguments)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(botocore.client.BaseClient, "_make_api_call", listening)
        provider = AWSNodeProvider(config["provider"], config["cluster_name"])
        provider.create_node(
            config["available_node_types"]["gpu_worker"]["node_config"],
            {"ray-node-type": "worker"},
            1,
        )
        (node,) = provider.non_terminated_nodes({})
        provider.set_node_tags(node, {"ray-node-status": "up-to-date"})
        provider.internal_ip(node), provider.external_ip(node)
        provider.terminate_node(node)
    assert {"ec2:RunInstances", "ec2:TerminateInstances"} <= called
    assert called <= allowed
