"""What the emulator made of the template, as its own services describe it."""

from stack import FUNCTIONS, STACK, Stack, check

# What the functions write, and the alarms that watch it, are counted in tests/tests/template/alarms.rs; here it is
# enough that they were made, with somewhere to ring.
ALARMS_AT_LEAST = 20


def are_as_in_the_template(stack: Stack) -> None:
    table(stack)
    functions(stack)
    schedule(stack)
    alarms(stack)


def table(stack: Stack) -> None:
    found = stack.client("dynamodb").describe_table(TableName=stack.outputs["TableName"])["Table"]
    keys = [(key["AttributeName"], key["KeyType"]) for key in found["KeySchema"]]
    check(keys == [("pk", "HASH"), ("sk", "RANGE")], f"keys: {keys}")
    [index] = found["GlobalSecondaryIndexes"]
    check(index["IndexName"] == "due" and index["Projection"]["ProjectionType"] == "KEYS_ONLY", f"index: {index}")
    check(found["StreamSpecification"]["StreamViewType"] == "NEW_IMAGE", "the stream brings new images")
    check(found["DeletionProtectionEnabled"], "the table is protected from deletion")


def functions(stack: Stack) -> None:
    client = stack.client("lambda")
    for name in FUNCTIONS:
        alias = client.get_alias(FunctionName=f"{STACK}-{name}", Name="live")
        found = client.get_function_configuration(FunctionName=f"{STACK}-{name}", Qualifier="live")
        check(alias["FunctionVersion"] != "$LATEST", f"{name}: the alias is on a version")
        check(found["Runtime"] == "provided.al2023" and found["Architectures"] == ["x86_64"], f"{name}: {found}")
        check(found["LoggingConfig"]["LogGroup"] == f"/aws/lambda/{STACK}-{name}", f"{name}: its log group")
        check(found["TracingConfig"]["Mode"] == "Active", f"{name} is traced")
    [mapping] = client.list_event_source_mappings(FunctionName=f"{STACK}-lifecycle:live")["EventSourceMappings"]
    check(mapping["FunctionResponseTypes"] == ["ReportBatchItemFailures"], "one bad event does not fail its batch")
    check(mapping["BisectBatchOnFunctionError"], "a failing batch is cut in two")
    check("OnFailure" in mapping["DestinationConfig"], "what fails is set aside")


def schedule(stack: Stack) -> None:
    scheduler = stack.client("scheduler")
    [found] = [entry for entry in scheduler.list_schedules()["Schedules"] if entry["Name"].startswith(STACK)]
    found = scheduler.get_schedule(Name=found["Name"], GroupName=found["GroupName"])
    check(found["ScheduleExpression"] == "rate(1 minute)" and found["State"] == "ENABLED", f"schedule: {found}")
    check(found["Target"]["Arn"].endswith(f"function:{STACK}-rotate:live"), f"it runs {found['Target']['Arn']}")
    check("DeadLetterConfig" in found["Target"], "what it cannot start is set aside")


def alarms(stack: Stack) -> None:
    pages = stack.client("cloudwatch").get_paginator("describe_alarms").paginate()
    found = [alarm for page in pages for alarm in page["MetricAlarms"] if alarm["AlarmName"].startswith(f"{STACK}-")]
    check(len(found) >= ALARMS_AT_LEAST, f"{len(found)} alarms")
    for alarm in found:
        check(alarm["AlarmActions"] == [stack.outputs["AlarmTopic"]], f"{alarm['AlarmName']} rings nowhere")
