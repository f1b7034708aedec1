//! The wire form of the built-in types: field number, JSON name and type of each field, one message a paragraph.
//!
//! `*` is a field that may be absent (so that a zero is a value), `[` a list, `{` a map from text. The numbers are the
//! ones that every client has used since these types exist.

/// All messages; an indented line goes on with the one before.
pub(super) const TYPES: &str = r"
apiextensions.CustomResourceColumnDefinition: 1 name text, 2 type text, 3 format text, 4 description text,
  5 priority int, 6 jsonPath text
apiextensions.CustomResourceConversion: 1 strategy text, 2 webhook *apiextensions.WebhookConversion
apiextensions.CustomResourceDefinition: 1 metadata meta.ObjectMeta,
  2 spec apiextensions.CustomResourceDefinitionSpec, 3 status apiextensions.CustomResourceDefinitionStatus
apiextensions.CustomResourceDefinitionCondition: 1 type text, 2 status text, 3 lastTransitionTime time,
  4 reason text, 5 message text, 6 observedGeneration int
apiextensions.CustomResourceDefinitionNames: 1 plural text, 2 singular text, 3 shortNames [text,
  4 kind text, 5 listKind text, 6 categories [text
apiextensions.CustomResourceDefinitionSpec: 1 group text,
  3 names apiextensions.CustomResourceDefinitionNames, 4 scope text,
  7 versions [apiextensions.CustomResourceDefinitionVersion,
  9 conversion *apiextensions.CustomResourceConversion, 10 preserveUnknownFields bool
apiextensions.CustomResourceDefinitionStatus: 1 conditions [apiextensions.CustomResourceDefinitionCondition,
  2 acceptedNames apiextensions.CustomResourceDefinitionNames, 3 storedVersions [text,
  4 observedGeneration int
apiextensions.CustomResourceDefinitionVersion: 1 name text, 2 served bool, 3 storage bool,
  4 schema *apiextensions.CustomResourceValidation,
  5 subresources *apiextensions.CustomResourceSubresources,
  6 additionalPrinterColumns [apiextensions.CustomResourceColumnDefinition, 7 deprecated bool,
  8 deprecationWarning *text, 9 selectableFields [apiextensions.SelectableField
apiextensions.CustomResourceSubresourceScale: 1 specReplicasPath text, 2 statusReplicasPath text,
  3 labelSelectorPath *text
apiextensions.CustomResourceSubresources: 1 status *apiextensions.Empty,
  2 scale *apiextensions.CustomResourceSubresourceScale
apiextensions.CustomResourceValidation: 1 openAPIV3Schema *apiextensions.JSONSchemaProps
apiextensions.Empty: 
apiextensions.ExternalDocumentation: 1 description text, 2 url text
apiextensions.JSONSchemaProps: 1 id text, 2 $schema text, 3 $ref *text, 4 description text, 5 type text,
  6 format text, 7 title text, 8 default *raw, 9 maximum *double, 10 exclusiveMaximum bool,
  11 minimum *double, 12 exclusiveMinimum bool, 13 maxLength *int, 14 minLength *int, 15 pattern text,
  16 maxItems *int, 17 minItems *int, 18 uniqueItems bool, 19 multipleOf *double, 20 enum [raw,
  21 maxProperties *int, 22 minProperties *int, 23 required [text, 24 items *orarray,
  25 allOf [apiextensions.JSONSchemaProps, 26 oneOf [apiextensions.JSONSchemaProps,
  27 anyOf [apiextensions.JSONSchemaProps, 28 not *apiextensions.JSONSchemaProps,
  29 properties {apiextensions.JSONSchemaProps, 30 additionalProperties *orbool,
  31 patternProperties {apiextensions.JSONSchemaProps, 32 dependencies {orstrings,
  33 additionalItems *orbool, 34 definitions {apiextensions.JSONSchemaProps,
  35 externalDocs *apiextensions.ExternalDocumentation, 36 example *raw, 37 nullable bool,
  38 x-kubernetes-preserve-unknown-fields *bool, 39 x-kubernetes-embedded-resource bool,
  40 x-kubernetes-int-or-string bool, 41 x-kubernetes-list-map-keys [text, 42 x-kubernetes-list-type *text,
  43 x-kubernetes-map-type *text, 44 x-kubernetes-validations [apiextensions.ValidationRule
apiextensions.SelectableField: 1 jsonPath text
apiextensions.ServiceReference: 1 namespace text, 2 name text, 3 path *text, 4 port *int
apiextensions.ValidationRule: 1 rule text, 2 message text, 3 messageExpression text, 4 reason *text,
  5 fieldPath text, 6 optionalOldSelf *bool
apiextensions.WebhookClientConfig: 1 service *apiextensions.ServiceReference, 2 caBundle bytes, 3 url *text
apiextensions.WebhookConversion: 2 clientConfig *apiextensions.WebhookClientConfig,
  3 conversionReviewVersions [text
authentication.BoundObjectReference: 1 kind text, 2 apiVersion text, 3 name text, 4 uid text
authentication.SelfSubjectReview: 1 metadata meta.ObjectMeta,
  2 status authentication.SelfSubjectReviewStatus
authentication.SelfSubjectReviewStatus: 1 userInfo authentication.UserInfo
authentication.TokenRequest: 1 metadata meta.ObjectMeta, 2 spec authentication.TokenRequestSpec,
  3 status authentication.TokenRequestStatus
authentication.TokenRequestSpec: 1 audiences [text, 3 boundObjectRef *authentication.BoundObjectReference,
  4 expirationSeconds *int
authentication.TokenRequestStatus: 1 token text, 2 expirationTimestamp time
authentication.TokenReview: 1 metadata meta.ObjectMeta, 2 spec authentication.TokenReviewSpec,
  3 status authentication.TokenReviewStatus
authentication.TokenReviewSpec: 1 token text, 2 audiences [text
authentication.TokenReviewStatus: 1 authenticated bool, 2 user authentication.UserInfo, 3 error text,
  4 audiences [text
authentication.UserInfo: 1 username text, 2 uid text, 3 groups [text, 4 extra {texts
authorization.FieldSelectorAttributes: 1 rawSelector text, 2 requirements [meta.FieldSelectorRequirement
authorization.LabelSelectorAttributes: 1 rawSelector text, 2 requirements [meta.LabelSelectorRequirement
authorization.LocalSubjectAccessReview: 1 metadata meta.ObjectMeta,
  2 spec authorization.SubjectAccessReviewSpec, 3 status authorization.SubjectAccessReviewStatus
authorization.NonResourceAttributes: 1 path text, 2 verb text
authorization.NonResourceRule: 1 verbs [text, 2 nonResourceURLs [text
authorization.ResourceAttributes: 1 namespace text, 2 verb text, 3 group text, 4 version text,
  5 resource text, 6 subresource text, 7 name text, 8 fieldSelector *authorization.FieldSelectorAttributes,
  9 labelSelector *authorization.LabelSelectorAttributes
authorization.ResourceRule: 1 verbs [text, 2 apiGroups [text, 3 resources [text, 4 resourceNames [text
authorization.SelfSubjectAccessReview: 1 metadata meta.ObjectMeta,
  2 spec authorization.SelfSubjectAccessReviewSpec, 3 status authorization.SubjectAccessReviewStatus
authorization.SelfSubjectAccessReviewSpec: 1 resourceAttributes *authorization.ResourceAttributes,
  2 nonResourceAttributes *authorization.NonResourceAttributes
authorization.SelfSubjectRulesReview: 1 metadata meta.ObjectMeta,
  2 spec authorization.SelfSubjectRulesReviewSpec, 3 status authorization.SubjectRulesReviewStatus
authorization.SelfSubjectRulesReviewSpec: 1 namespace text
authorization.SubjectAccessReview: 1 metadata meta.ObjectMeta, 2 spec authorization.SubjectAccessReviewSpec,
  3 status authorization.SubjectAccessReviewStatus
authorization.SubjectAccessReviewSpec: 1 resourceAttributes *authorization.ResourceAttributes,
  2 nonResourceAttributes *authorization.NonResourceAttributes, 3 user text, 4 groups [text, 5 extra {texts,
  6 uid text
authorization.SubjectAccessReviewStatus: 1 allowed bool, 2 reason text, 3 evaluationError text,
  4 denied bool
authorization.SubjectRulesReviewStatus: 1 resourceRules [authorization.ResourceRule,
  2 nonResourceRules [authorization.NonResourceRule, 3 incomplete bool, 4 evaluationError text
autoscaling.Scale: 1 metadata meta.ObjectMeta, 2 spec autoscaling.ScaleSpec,
  3 status autoscaling.ScaleStatus
autoscaling.ScaleSpec: 1 replicas int
autoscaling.ScaleStatus: 1 replicas int, 2 selector text
coordination.Lease: 1 metadata meta.ObjectMeta, 2 spec coordination.LeaseSpec
coordination.LeaseSpec: 1 holderIdentity *text, 2 leaseDurationSeconds *int, 3 acquireTime *micro,
  4 renewTime *micro, 5 leaseTransitions *int, 6 strategy *text, 7 preferredHolder *text
core.ClientIPConfig: 1 timeoutSeconds *int
core.ConfigMap: 1 metadata meta.ObjectMeta, 2 data {text, 3 binaryData {bytes, 4 immutable *bool
core.Event: 1 metadata meta.ObjectMeta, 2 involvedObject core.ObjectReference, 3 reason text,
  4 message text, 5 source core.EventSource, 6 firstTimestamp time, 7 lastTimestamp time, 8 count int,
  9 type text, 10 eventTime micro, 11 series *core.EventSeries, 12 action text,
  13 related *core.ObjectReference, 14 reportingComponent text, 15 reportingInstance text
core.EventSeries: 1 count int, 2 lastObservedTime micro
core.EventSource: 1 component text, 2 host text
core.LoadBalancerIngress: 1 ip text, 2 hostname text, 3 ipMode *text, 4 ports [core.PortStatus
core.LoadBalancerStatus: 1 ingress [core.LoadBalancerIngress
core.LocalObjectReference: 1 name text
core.Namespace: 1 metadata meta.ObjectMeta, 2 spec core.NamespaceSpec, 3 status core.NamespaceStatus
core.NamespaceCondition: 1 type text, 2 status text, 4 lastTransitionTime time, 5 reason text,
  6 message text
core.NamespaceSpec: 1 finalizers [text
core.NamespaceStatus: 1 phase text, 2 conditions [core.NamespaceCondition
core.ObjectReference: 1 kind text, 2 namespace text, 3 name text, 4 uid text, 5 apiVersion text,
  6 resourceVersion text, 7 fieldPath text
core.PortStatus: 1 port int, 2 protocol text, 3 error *text
core.Secret: 1 metadata meta.ObjectMeta, 2 data {bytes, 3 type text, 4 stringData {text, 5 immutable *bool
core.Service: 1 metadata meta.ObjectMeta, 2 spec core.ServiceSpec, 3 status core.ServiceStatus
core.ServiceAccount: 1 metadata meta.ObjectMeta, 2 secrets [core.ObjectReference,
  3 imagePullSecrets [core.LocalObjectReference, 4 automountServiceAccountToken *bool
core.ServicePort: 1 name text, 2 protocol text, 3 port int, 4 targetPort intstr, 5 nodePort int,
  6 appProtocol *text
core.ServiceSpec: 1 ports [core.ServicePort, 2 selector {text, 3 clusterIP text, 4 type text,
  5 externalIPs [text, 7 sessionAffinity text, 8 loadBalancerIP text, 9 loadBalancerSourceRanges [text,
  10 externalName text, 11 externalTrafficPolicy text, 12 healthCheckNodePort int,
  13 publishNotReadyAddresses bool, 14 sessionAffinityConfig *core.SessionAffinityConfig,
  17 ipFamilyPolicy *text, 18 clusterIPs [text, 19 ipFamilies [text, 20 allocateLoadBalancerNodePorts *bool,
  21 loadBalancerClass *text, 22 internalTrafficPolicy *text, 23 trafficDistribution *text
core.ServiceStatus: 1 loadBalancer core.LoadBalancerStatus, 2 conditions [meta.Condition
core.SessionAffinityConfig: 1 clientIP *core.ClientIPConfig
events.Event: 1 metadata meta.ObjectMeta, 2 eventTime micro, 3 series *events.EventSeries,
  4 reportingController text, 5 reportingInstance text, 6 action text, 7 reason text,
  8 regarding core.ObjectReference, 9 related *core.ObjectReference, 10 note text, 11 type text,
  12 deprecatedSource core.EventSource, 13 deprecatedFirstTimestamp time, 14 deprecatedLastTimestamp time,
  15 deprecatedCount int
events.EventSeries: 1 count int, 2 lastObservedTime micro
flowcontrol.ExemptPriorityLevelConfiguration: 1 nominalConcurrencyShares *int, 2 lendablePercent *int
flowcontrol.FlowDistinguisherMethod: 1 type text
flowcontrol.FlowSchema: 1 metadata meta.ObjectMeta, 2 spec flowcontrol.FlowSchemaSpec,
  3 status flowcontrol.FlowSchemaStatus
flowcontrol.FlowSchemaCondition: 1 type text, 2 status text, 3 lastTransitionTime time, 4 reason text,
  5 message text
flowcontrol.FlowSchemaSpec: 1 priorityLevelConfiguration flowcontrol.PriorityLevelConfigurationReference,
  2 matchingPrecedence int, 3 distinguisherMethod *flowcontrol.FlowDistinguisherMethod,
  4 rules [flowcontrol.PolicyRulesWithSubjects
flowcontrol.FlowSchemaStatus: 1 conditions [flowcontrol.FlowSchemaCondition
flowcontrol.GroupSubject: 1 name text
flowcontrol.LimitResponse: 1 type text, 2 queuing *flowcontrol.QueuingConfiguration
flowcontrol.LimitedPriorityLevelConfiguration: 1 nominalConcurrencyShares *int,
  2 limitResponse flowcontrol.LimitResponse, 3 lendablePercent *int, 4 borrowingLimitPercent *int
flowcontrol.NonResourcePolicyRule: 1 verbs [text, 6 nonResourceURLs [text
flowcontrol.PolicyRulesWithSubjects: 1 subjects [flowcontrol.Subject,
  2 resourceRules [flowcontrol.ResourcePolicyRule, 3 nonResourceRules [flowcontrol.NonResourcePolicyRule
flowcontrol.PriorityLevelConfiguration: 1 metadata meta.ObjectMeta,
  2 spec flowcontrol.PriorityLevelConfigurationSpec, 3 status flowcontrol.PriorityLevelConfigurationStatus
flowcontrol.PriorityLevelConfigurationCondition: 1 type text, 2 status text, 3 lastTransitionTime time,
  4 reason text, 5 message text
flowcontrol.PriorityLevelConfigurationReference: 1 name text
flowcontrol.PriorityLevelConfigurationSpec: 1 type text,
  2 limited *flowcontrol.LimitedPriorityLevelConfiguration,
  3 exempt *flowcontrol.ExemptPriorityLevelConfiguration
flowcontrol.PriorityLevelConfigurationStatus: 1 conditions [flowcontrol.PriorityLevelConfigurationCondition
flowcontrol.QueuingConfiguration: 1 queues int, 2 handSize int, 3 queueLengthLimit int
flowcontrol.ResourcePolicyRule: 1 verbs [text, 2 apiGroups [text, 3 resources [text, 4 clusterScope bool,
  5 namespaces [text
flowcontrol.ServiceAccountSubject: 1 namespace text, 2 name text
flowcontrol.Subject: 1 kind text, 2 user *flowcontrol.UserSubject, 3 group *flowcontrol.GroupSubject,
  4 serviceAccount *flowcontrol.ServiceAccountSubject
flowcontrol.UserSubject: 1 name text
meta.APIGroup: 1 name text, 2 versions [meta.GroupVersionForDiscovery,
  3 preferredVersion meta.GroupVersionForDiscovery, 4 serverAddressByClientCIDRs [meta.ServerAddressByClientCIDR
meta.APIGroupList: 1 groups [meta.APIGroup
meta.APIResource: 1 name text, 2 namespaced bool, 3 kind text, 4 verbs *texts, 5 shortNames [text,
  6 singularName text, 7 categories [text, 8 group text, 9 version text, 10 storageVersionHash text
meta.APIResourceList: 1 groupVersion text, 2 resources [meta.APIResource
meta.APIVersions: 1 versions [text, 2 serverAddressByClientCIDRs [meta.ServerAddressByClientCIDR
meta.Condition: 1 type text, 2 status text, 3 observedGeneration int, 4 lastTransitionTime time,
  5 reason text, 6 message text
meta.DeleteOptions: 1 gracePeriodSeconds *int, 2 preconditions *meta.Preconditions,
  3 orphanDependents *bool, 4 propagationPolicy *text, 5 dryRun [text,
  6 ignoreStoreReadErrorWithClusterBreakingPotential *bool
meta.FieldSelectorRequirement: 1 key text, 2 operator text, 3 values [text
meta.GroupVersionForDiscovery: 1 groupVersion text, 2 version text
meta.LabelSelector: 1 matchLabels {text, 2 matchExpressions [meta.LabelSelectorRequirement
meta.LabelSelectorRequirement: 1 key text, 2 operator text, 3 values [text
meta.ListMeta: 1 selfLink text, 2 resourceVersion text, 3 continue text, 4 remainingItemCount *int
meta.ManagedFieldsEntry: 1 manager text, 2 operation text, 3 apiVersion text, 4 time *time,
  6 fieldsType text, 7 fieldsV1 *raw, 8 subresource text
meta.ObjectMeta: 1 name text, 2 generateName text, 3 namespace text, 4 selfLink text, 5 uid text,
  6 resourceVersion text, 7 generation int, 8 creationTimestamp time, 9 deletionTimestamp *time,
  10 deletionGracePeriodSeconds *int, 11 labels {text, 12 annotations {text,
  13 ownerReferences [meta.OwnerReference, 14 finalizers [text, 17 managedFields [meta.ManagedFieldsEntry
meta.OwnerReference: 1 kind text, 3 name text, 4 uid text, 5 apiVersion text, 6 controller *bool,
  7 blockOwnerDeletion *bool
meta.PartialObjectMetadata: 1 metadata meta.ObjectMeta
meta.Preconditions: 1 uid *text, 2 resourceVersion *text
meta.ServerAddressByClientCIDR: 1 clientCIDR text, 2 serverAddress text
meta.Status: 1 metadata meta.ListMeta, 2 status text, 3 message text, 4 reason text, 5 details *meta.StatusDetails,
  6 code int
meta.StatusCause: 1 reason text, 2 message text, 3 field text
meta.StatusDetails: 1 name text, 2 group text, 3 kind text, 4 causes [meta.StatusCause, 5 retryAfterSeconds int,
  6 uid text
rbac.AggregationRule: 1 clusterRoleSelectors [meta.LabelSelector
rbac.ClusterRole: 1 metadata meta.ObjectMeta, 2 rules [rbac.PolicyRule,
  3 aggregationRule *rbac.AggregationRule
rbac.ClusterRoleBinding: 1 metadata meta.ObjectMeta, 2 subjects [rbac.Subject, 3 roleRef rbac.RoleRef
rbac.PolicyRule: 1 verbs [text, 2 apiGroups [text, 3 resources [text, 4 resourceNames [text,
  5 nonResourceURLs [text
rbac.Role: 1 metadata meta.ObjectMeta, 2 rules [rbac.PolicyRule
rbac.RoleBinding: 1 metadata meta.ObjectMeta, 2 subjects [rbac.Subject, 3 roleRef rbac.RoleRef
rbac.RoleRef: 1 apiGroup text, 2 kind text, 3 name text
rbac.Subject: 1 kind text, 2 apiGroup text, 3 name text, 4 namespace text
";
