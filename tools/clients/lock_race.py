"""Terraform-style state: processes race for a lock made with If-None-Match: *, and change a state under it with If-Match.
The lock is right when no change of the state is lost and no process ever sees another inside."""

import json
import multiprocessing
import time

import boto3
from botocore.config import Config
from botocore.exceptions import ClientError

from common import *

BUCKET, LOCK, STATE = "lock-race", "env:/prod/terraform.tfstate.tflock", "env:/prod/terraform.tfstate"
PROCESSES = 4 if QUICK else 8
# Acquisitions by each process; and races in which all start at once and nobody releases.
TURNS, ROUNDS = (5, 20) if QUICK else (25, 100)


def connect():
    return boto3.client(
        "s3", endpoint_url=ENDPOINT, config=Config(retries={"max_attempts": 1}, s3={"addressing_style": "path"})
    )


def acquire(s3, key, holder):
    """Whether this process got the lock; every other answer than won and lost is an error."""
    try:
        s3.put_object(Bucket=BUCKET, Key=key, Body=json.dumps({"ID": holder}).encode(), IfNoneMatch="*")
        return True
    except ClientError as error:
        status, code = error.response["ResponseMetadata"]["HTTPStatusCode"], error.response["Error"]["Code"]
        if (status, code) in [(412, "PreconditionFailed"), (409, "ConditionalRequestConflict")]:
            return False
        raise


def change_state(s3, holder):
    held = json.loads(s3.get_object(Bucket=BUCKET, Key=LOCK)["Body"].read())["ID"]
    assert held == holder, f"{holder} holds the lock, and it says {held}"
    state = s3.get_object(Bucket=BUCKET, Key=STATE)
    values = json.loads(state["Body"].read())
    values["serial"] += 1
    values["writers"].append(holder)
    s3.put_object(Bucket=BUCKET, Key=STATE, Body=json.dumps(values).encode(), IfMatch=state["ETag"])


def work(number, barrier, results):
    try:
        s3, won = connect(), 0
        for turn in range(ROUNDS):
            barrier.wait(60)
            won += acquire(s3, f"race/{turn}", number)
        barrier.wait(60)
        for turn in range(TURNS):
            holder, deadline = f"{number}-{turn}", time.monotonic() + 120
            while not acquire(s3, LOCK, holder):
                assert time.monotonic() < deadline, "the lock was never free"
                time.sleep(0.005)
            change_state(s3, holder)
            s3.delete_object(Bucket=BUCKET, Key=LOCK)
        results.put((number, won, ""))
    except Exception as error:
        results.put((number, 0, repr(error)))


def main():
    s3 = connect()
    s3.create_bucket(Bucket=BUCKET)
    s3.put_object(Bucket=BUCKET, Key=STATE, Body=json.dumps({"serial": 0, "writers": []}).encode())
    context = multiprocessing.get_context("spawn")
    barrier, results = context.Barrier(PROCESSES), context.Queue()
    processes = [context.Process(target=work, args=(n, barrier, results)) for n in range(PROCESSES)]
    for process in processes:
        process.start()
    answers = [results.get(timeout=300) for _ in processes]
    for process in processes:
        process.join()
    for number, _, error in answers:
        check(f"process {number}", error, "")
    check("one winner in every round", sum(won for _, won, _ in answers), ROUNDS)
    for turn in range(ROUNDS):
        winner = json.loads(s3.get_object(Bucket=BUCKET, Key=f"race/{turn}")["Body"].read())["ID"]
        check("the winner is one of the processes", winner in range(PROCESSES), True)
    state = json.loads(s3.get_object(Bucket=BUCKET, Key=STATE)["Body"].read())
    check("no change is lost", state["serial"], PROCESSES * TURNS)
    expected = sorted(f"{n}-{turn}" for n in range(PROCESSES) for turn in range(TURNS))
    check("every change once", sorted(state["writers"]), expected)
    for entry in s3.list_objects_v2(Bucket=BUCKET)["Contents"]:
        s3.delete_object(Bucket=BUCKET, Key=entry["Key"])
    s3.delete_bucket(Bucket=BUCKET)
    done(boto3.__version__, f"{PROCESSES} processes with boto3: {ROUNDS} races of creates, "
         f"{PROCESSES * TURNS} changes of a state under a lock")


if __name__ == "__main__":
    main()
