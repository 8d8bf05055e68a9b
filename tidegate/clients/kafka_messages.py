"""Kafka's requests and responses, record batches and SASL mechanisms, from kafka-python.

Imported in one place because kafka-python reads its schemas on import by a function that Python 3.11 calls deprecated.
"""

from __future__ import annotations

import warnings

with warnings.catch_warnings():
    warnings.simplefilter("ignore", DeprecationWarning)
    from kafka import errors as kafka_errors
    from kafka.net.sasl import get_sasl_mechanism
    from kafka.protocol.admin.acl import CreateAclsRequest, DeleteAclsRequest, DescribeAclsRequest
    from kafka.protocol.admin.configs import DescribeConfigsRequest
    from kafka.protocol.admin.groups import DeleteGroupsRequest, ListGroupsRequest
    from kafka.protocol.admin.topics import CreateTopicsRequest, DeleteTopicsRequest
    from kafka.protocol.admin.transactions import (
        DescribeProducersRequest,
        DescribeTransactionsRequest,
        ListTransactionsRequest,
    )
    from kafka.protocol.broker_version_data import BrokerVersionData
    from kafka.protocol.consumer.fetch import FetchRequest
    from kafka.protocol.consumer.group import OffsetCommitRequest, OffsetFetchRequest
    from kafka.protocol.consumer.offsets import ListOffsetsRequest
    from kafka.protocol.metadata import ApiVersionsRequest, FindCoordinatorRequest, MetadataRequest
    from kafka.protocol.parser import KafkaProtocol
    from kafka.protocol.producer.transaction import EndTxnRequest, InitProducerIdRequest, WriteTxnMarkersRequest
    from kafka.protocol.sasl import SaslAuthenticateRequest, SaslHandshakeRequest
    from kafka.record.default_records import DefaultRecordBatch
    from kafka.record.memory_records import MemoryRecords

__all__ = [
    "ApiVersionsRequest",
    "BrokerVersionData",
    "CreateAclsRequest",
    "CreateTopicsRequest",
    "DefaultRecordBatch",
    "DeleteAclsRequest",
    "DeleteGroupsRequest",
    "DeleteTopicsRequest",
    "DescribeAclsRequest",
    "DescribeConfigsRequest",
    "DescribeProducersRequest",
    "DescribeTransactionsRequest",
    "EndTxnRequest",
    "FetchRequest",
    "FindCoordinatorRequest",
    "InitProducerIdRequest",
    "KafkaProtocol",
    "ListGroupsRequest",
    "ListOffsetsRequest",
    "ListTransactionsRequest",
    "MemoryRecords",
    "MetadataRequest",
    "OffsetCommitRequest",
    "OffsetFetchRequest",
    "SaslAuthenticateRequest",
    "SaslHandshakeRequest",
    "WriteTxnMarkersRequest",
    "get_sasl_mechanism",
    "kafka_errors",
]
