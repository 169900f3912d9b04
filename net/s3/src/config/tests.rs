//! Documents that S3 keeps and documents it refuses, by kind.

use super::*;

fn code(kind: &str, body: &str) -> Result<String, ErrorCode> {
    let kind = named(kind).expect("a kind");
    let id = kind.list.and_then(|_| Element::parse(body.as_bytes()).ok()?.text_of("Id").map(str::to_owned));
    let document = kind.parse(body.as_bytes(), id.as_deref()).map_err(|error| error.code)?;
    let stored = kind.stored(&document);
    assert_eq!(kind.load(&stored).as_ref(), Some(&document), "what is stored is what was checked");
    Ok(stored)
}

fn lifecycle(rule: &str) -> Result<String, ErrorCode> {
    code("lifecycle", &format!("<LifecycleConfiguration><Rule>{rule}</Rule></LifecycleConfiguration>"))
}

fn cors(rule: &str) -> Result<String, ErrorCode> {
    code("cors", &format!("<CORSConfiguration><CORSRule>{rule}</CORSRule></CORSConfiguration>"))
}

fn website(content: &str) -> Result<String, ErrorCode> {
    code("website", &format!("<WebsiteConfiguration>{content}</WebsiteConfiguration>"))
}

#[test]
fn every_operation_belongs_to_one_kind() {
    for kind in KINDS {
        let ops = [Some(kind.put), Some(kind.get), kind.delete, kind.list];
        for op in ops.into_iter().flatten() {
            assert_eq!(of_op(op).map(|(found, _)| found.name), Some(kind.name), "{}", op.name());
        }
    }
}

#[test]
fn unknown_elements_texts_and_roots_are_refused() {
    assert_eq!(code("tagging", "<Tags><TagSet></TagSet></Tags>"), Err(ErrorCode::MalformedXML));
    assert_eq!(code("tagging", "<Tagging><TagSet/><More/></Tagging>"), Err(ErrorCode::MalformedXML));
    assert_eq!(code("tagging", "<Tagging>text<TagSet/></Tagging>"), Err(ErrorCode::MalformedXML));
    assert_eq!(code("tagging", "<Tagging/>"), Err(ErrorCode::MalformedXML));
    assert_eq!(code("tagging", " "), Err(ErrorCode::MissingRequestBodyError));
    assert_eq!(
        code("accelerate", "<AccelerateConfiguration><Status>On</Status></AccelerateConfiguration>"),
        Err(ErrorCode::MalformedXML)
    );
    assert!(
        code(
            "accelerate",
            "<AccelerateConfiguration xmlns=\"x\"><Status> Enabled </Status></AccelerateConfiguration>"
        )
        .is_ok()
    );
}

#[test]
fn text_is_stored_escaped() {
    let body = "<Tagging><TagSet><Tag><Key>a</Key><Value>1+1=2 @x</Value></Tag></TagSet></Tagging>";
    assert_eq!(
        code("tagging", body).as_deref(),
        Ok("<TagSet><Tag><Key>a</Key><Value>1+1=2 @x</Value></Tag></TagSet>")
    );
    let rule = "<AllowedMethod>GET</AllowedMethod><AllowedOrigin>&lt;&amp;*</AllowedOrigin>";
    assert_eq!(cors(rule).map(|stored| stored.contains("&lt;&amp;*")), Ok(true));
}

#[test]
fn cors_rules() {
    let origin = "<AllowedOrigin>*</AllowedOrigin>";
    assert!(cors(&format!("<AllowedMethod>GET</AllowedMethod>{origin}")).is_ok());
    assert_eq!(
        cors(&format!("<AllowedMethod>PATCH</AllowedMethod>{origin}")),
        Err(ErrorCode::InvalidRequest)
    );
    assert_eq!(cors(origin), Err(ErrorCode::MalformedXML));
    assert_eq!(
        cors("<AllowedMethod>GET</AllowedMethod><AllowedOrigin>*.*</AllowedOrigin>"),
        Err(ErrorCode::InvalidRequest)
    );
    assert_eq!(
        cors(&format!("<AllowedMethod>GET</AllowedMethod>{origin}<ExposeHeader>x-*</ExposeHeader>")),
        Err(ErrorCode::InvalidRequest)
    );
    assert_eq!(
        cors(&format!("<AllowedMethod>GET</AllowedMethod>{origin}<ID>{}</ID>", "x".repeat(256))),
        Err(ErrorCode::InvalidArgument)
    );
}

#[test]
fn cors_evaluation() {
    let rule = |origin: &str, method: &str, header: &str| {
        format!(
            "<CORSRule><AllowedOrigin>{origin}</AllowedOrigin><AllowedMethod>{method}</AllowedMethod><AllowedHeader>{header}</AllowedHeader><ExposeHeader>ETag</ExposeHeader><MaxAgeSeconds>30</MaxAgeSeconds></CORSRule>"
        )
    };
    let text = format!(
        "<CORSConfiguration>{}{}</CORSConfiguration>",
        rule("https://*.example.org", "PUT", "x-amz-*"),
        rule("*", "GET", "none")
    );
    let configuration = Element::parse(text.as_bytes()).expect("well-formed");
    let ask = |origin: &str, method: &str, headers: &str| {
        cors::allowed(&configuration, &cors::Asked { origin, method, headers }).map(|a| a.origin)
    };
    assert_eq!(
        ask("https://a.example.org", "PUT", "X-Amz-Date, x-amz-acl"),
        Some("https://a.example.org".into())
    );
    assert_eq!(ask("https://a.example.org", "PUT", "content-type"), None);
    assert_eq!(ask("https://example.org", "PUT", ""), None);
    assert_eq!(ask("http://other", "GET", ""), Some("*".into()));
    assert_eq!(ask("http://other", "DELETE", ""), None);
}

#[test]
fn website_rules() {
    assert!(website("<IndexDocument><Suffix>index.html</Suffix></IndexDocument>").is_ok());
    assert_eq!(website(""), Err(ErrorCode::InvalidArgument));
    assert_eq!(
        website("<IndexDocument><Suffix>a/b</Suffix></IndexDocument>"),
        Err(ErrorCode::InvalidArgument)
    );
    assert_eq!(website("<IndexDocument><Suffix></Suffix></IndexDocument>"), Err(ErrorCode::InvalidArgument));
    assert!(website("<RedirectAllRequestsTo><HostName>h</HostName></RedirectAllRequestsTo>").is_ok());
    assert_eq!(
        website(
            "<RedirectAllRequestsTo><HostName>h</HostName></RedirectAllRequestsTo><IndexDocument><Suffix>i</Suffix></IndexDocument>"
        ),
        Err(ErrorCode::InvalidRequest)
    );
    let routed = |redirect: &str| {
        website(&format!(
            "<IndexDocument><Suffix>i</Suffix></IndexDocument><RoutingRules><RoutingRule><Redirect>{redirect}</Redirect></RoutingRule></RoutingRules>"
        ))
    };
    assert!(routed("<HostName>h</HostName><HttpRedirectCode>302</HttpRedirectCode>").is_ok());
    assert_eq!(routed("<HttpRedirectCode>200</HttpRedirectCode>"), Err(ErrorCode::InvalidRequest));
    assert_eq!(
        routed("<ReplaceKeyWith>a</ReplaceKeyWith><ReplaceKeyPrefixWith>b</ReplaceKeyPrefixWith>"),
        Err(ErrorCode::InvalidRequest)
    );
    assert_eq!(routed(""), Err(ErrorCode::InvalidRequest));
}

#[test]
fn lifecycle_rules() {
    let days = |n: i64| {
        format!("<Prefix>a</Prefix><Status>Enabled</Status><Expiration><Days>{n}</Days></Expiration>")
    };
    assert!(lifecycle(&days(1)).is_ok_and(|stored| stored.contains("<ID>rule-0</ID>")));
    assert_eq!(lifecycle(&days(0)), Err(ErrorCode::InvalidArgument));
    assert_eq!(lifecycle("<Prefix>a</Prefix><Status>Enabled</Status>"), Err(ErrorCode::InvalidRequest));
    assert_eq!(
        lifecycle("<Prefix>a</Prefix><Status>enabled</Status><Expiration><Days>1</Days></Expiration>"),
        Err(ErrorCode::MalformedXML)
    );
    assert_eq!(
        lifecycle("<Status>Enabled</Status><Expiration><Days>1</Days></Expiration>"),
        Err(ErrorCode::MalformedXML)
    );
    assert_eq!(lifecycle(&format!("{}<Filter/>", days(1))), Err(ErrorCode::MalformedXML));
    let date = |text: &str| {
        lifecycle(&format!("<Filter/><Status>Enabled</Status><Expiration><Date>{text}</Date></Expiration>"))
    };
    assert!(date("2030-01-01T00:00:00Z").is_ok());
    assert_eq!(date("2030-01-01T01:00:00Z"), Err(ErrorCode::InvalidArgument));
    assert_eq!(date("20300101"), Err(ErrorCode::MalformedXML));
    let moved = "<Transition><Days>30</Days><StorageClass>GLACIER</StorageClass></Transition>";
    assert_eq!(lifecycle(&format!("{}{moved}", days(30))), Err(ErrorCode::InvalidArgument));
    assert!(lifecycle(&format!("{}{moved}", days(31))).is_ok());
    assert_eq!(lifecycle(&format!("{}{moved}{moved}", days(31))), Err(ErrorCode::InvalidRequest));
    let dated =
        "<Transition><Date>2030-01-01T00:00:00Z</Date><StorageClass>GLACIER</StorageClass></Transition>";
    assert_eq!(lifecycle(&format!("{}{dated}", days(31))), Err(ErrorCode::InvalidRequest));
    let two = "<Filter><Prefix>a</Prefix><ObjectSizeLessThan>1</ObjectSizeLessThan></Filter><Status>Enabled</Status><Expiration><Days>1</Days></Expiration>";
    assert_eq!(lifecycle(two), Err(ErrorCode::MalformedXML));
    let both = "<Filter><And><Prefix>a</Prefix><ObjectSizeGreaterThan>1</ObjectSizeGreaterThan></And></Filter><Status>Enabled</Status><Expiration><Days>1</Days></Expiration>";
    assert!(lifecycle(both).is_ok());
    let same = "<LifecycleConfiguration><Rule><ID>a</ID><Filter/><Status>Enabled</Status><Expiration><Days>1</Days></Expiration></Rule><Rule><ID>a</ID><Filter/><Status>Enabled</Status><Expiration><Days>1</Days></Expiration></Rule></LifecycleConfiguration>";
    assert_eq!(code("lifecycle", same), Err(ErrorCode::InvalidArgument));
}

#[test]
fn documents_with_an_id() {
    let metrics = |id: &str, filter: &str| {
        code("metrics", &format!("<MetricsConfiguration><Id>{id}</Id>{filter}</MetricsConfiguration>"))
    };
    assert!(metrics("all", "").is_ok());
    assert_eq!(metrics("a b", ""), Err(ErrorCode::InvalidConfigurationId));
    assert_eq!(metrics("a", "<Filter></Filter>"), Err(ErrorCode::MalformedXML));
    let kind = named("metrics").expect("a kind");
    let body = b"<MetricsConfiguration><Id>a</Id></MetricsConfiguration>";
    assert_eq!(
        kind.parse(body, Some("b")).map_err(|error| error.code),
        Err(ErrorCode::InvalidConfigurationId)
    );
}

#[test]
fn a_public_access_block_names_all_switches() {
    let body = "<PublicAccessBlockConfiguration><BlockPublicAcls>TRUE</BlockPublicAcls></PublicAccessBlockConfiguration>";
    let stored = code("publicAccessBlock", body).expect("legal");
    assert_eq!(stored.matches("false").count(), 3);
    assert_eq!(stored.matches("true").count(), 1);
}

#[test]
fn notification_targets_and_filters() {
    let queue = |arn: &str, filter: &str| {
        code(
            "notification",
            &format!(
                "<NotificationConfiguration><QueueConfiguration><Queue>{arn}</Queue><Event>s3:ObjectCreated:*</Event>{filter}</QueueConfiguration></NotificationConfiguration>"
            ),
        )
    };
    let arn = "arn:aws:sqs:eu-west-1:1:q";
    assert!(queue(arn, "").is_ok_and(|stored| stored.contains("<Id>")));
    assert_eq!(queue("q", ""), Err(ErrorCode::InvalidArgument));
    let filter = |name: &str| {
        format!(
            "<Filter><S3Key><FilterRule><Name>{name}</Name><Value>a</Value></FilterRule></S3Key></Filter>"
        )
    };
    assert!(queue(arn, &filter("Prefix")).is_ok());
    assert_eq!(queue(arn, &filter("middle")), Err(ErrorCode::InvalidArgument));
}

fn replication(rule: &str) -> Result<String, ErrorCode> {
    replicated("arn:aws:iam::1:role/r", &format!("<Rule>{rule}</Rule>"))
}

fn replicated(role: &str, rules: &str) -> Result<String, ErrorCode> {
    let body = format!("<ReplicationConfiguration><Role>{role}</Role>{rules}</ReplicationConfiguration>");
    code("replication", &body)
}

const GOES: &str = "<Destination><Bucket>arn:aws:s3:::bkt</Bucket></Destination>";
const MARKERS: &str = "<DeleteMarkerReplication><Status>Disabled</Status></DeleteMarkerReplication>";

#[test]
fn replication_rules() {
    let rule = |more: &str| replication(&format!("<Status>Enabled</Status>{GOES}{more}"));
    assert!(rule("<Prefix>a</Prefix>").is_ok_and(|stored| stored.contains("<ID>rule-1</ID>")));
    assert_eq!(rule(""), Err(ErrorCode::MalformedXML));
    assert!(rule(&format!("<Filter/><Priority>1</Priority>{MARKERS}")).is_ok());
    assert_eq!(rule(&format!("<Filter/>{MARKERS}")), Err(ErrorCode::InvalidRequest));
    assert_eq!(rule("<Filter/><Priority>1</Priority>"), Err(ErrorCode::InvalidRequest));
    assert_eq!(
        rule(&format!("<Prefix/><Filter/><Priority>1</Priority>{MARKERS}")),
        Err(ErrorCode::MalformedXML)
    );
    let tag = "<Filter><Tag><Key>a</Key><Value>b</Value></Tag></Filter><Priority>1</Priority>";
    assert!(rule(&format!("{tag}{MARKERS}")).is_ok());
    assert_eq!(
        rule(&format!("{tag}{}", MARKERS.replace("Disabled", "Enabled"))),
        Err(ErrorCode::InvalidRequest)
    );
    assert_eq!(replicated("role", "<Rule/>"), Err(ErrorCode::MalformedXML));
    assert_eq!(
        replicated("role", &format!("<Rule><Prefix/><Status>Enabled</Status>{GOES}</Rule>")),
        Err(ErrorCode::InvalidArgument)
    );
    let two = |first: &str, second: &str| {
        let one = |more: &str| format!("<Rule>{more}<Status>Enabled</Status>{GOES}</Rule>");
        replicated("arn:aws:iam::1:role/r", &(one(first) + &one(second)))
    };
    let filtered = |n: u8| format!("<Priority>{n}</Priority><Filter/>{MARKERS}");
    assert!(two(&filtered(1), &filtered(2)).is_ok());
    assert_eq!(two(&filtered(1), &filtered(1)), Err(ErrorCode::InvalidRequest));
    assert_eq!(two(&filtered(1), "<Prefix/>"), Err(ErrorCode::InvalidRequest));
    assert_eq!(
        two("<ID>a</ID><Prefix>a</Prefix>", "<ID>a</ID><Prefix>b</Prefix>"),
        Err(ErrorCode::InvalidArgument)
    );
}

#[test]
fn replication_destinations() {
    let to = |destination: &str| {
        let destination = format!("<Destination>{destination}</Destination>");
        replication(&format!("<Prefix/><Status>Enabled</Status>{destination}"))
    };
    let bucket = "<Bucket>arn:aws:s3:::bkt</Bucket>";
    assert!(to(&format!("{bucket}<StorageClass>GLACIER</StorageClass>")).is_ok());
    assert_eq!(to(&format!("{bucket}<StorageClass>COLD</StorageClass>")), Err(ErrorCode::MalformedXML));
    assert_eq!(to("<Bucket>bkt</Bucket>"), Err(ErrorCode::InvalidArgument));
    let owner = "<AccessControlTranslation><Owner>Destination</Owner></AccessControlTranslation>";
    assert_eq!(to(&format!("{bucket}{owner}")), Err(ErrorCode::InvalidRequest));
    assert!(to(&format!("{bucket}{owner}<Account>111122223333</Account>")).is_ok());
    assert_eq!(to(&format!("{bucket}<Account>me</Account>")), Err(ErrorCode::InvalidArgument));
    let in_time = |minutes: u8, more: &str| {
        let time = format!(
            "<ReplicationTime><Status>Enabled</Status><Time><Minutes>{minutes}</Minutes></Time></ReplicationTime>"
        );
        to(&format!("{bucket}{time}{more}"))
    };
    let metrics =
        "<Metrics><Status>Enabled</Status><EventThreshold><Minutes>15</Minutes></EventThreshold></Metrics>";
    assert!(in_time(15, metrics).is_ok());
    assert_eq!(in_time(15, ""), Err(ErrorCode::InvalidRequest));
    assert_eq!(in_time(10, metrics), Err(ErrorCode::MalformedXML));
    let key = "<EncryptionConfiguration><ReplicaKmsKeyID>k</ReplicaKmsKeyID></EncryptionConfiguration>";
    assert_eq!(to(&format!("{bucket}{key}")), Err(ErrorCode::InvalidRequest));
}
