import KubernetesAPI

/// How the kinds that every API server brings are called in rights, for where no server is asked.
enum BuiltInKinds {
    private static let namespaced: [String: String] = [
        "": """
        ConfigMap Endpoints Event LimitRange PersistentVolumeClaim Pod PodTemplate ReplicationController ResourceQuota Secret Service ServiceAccount
        """,
        "apps": "ControllerRevision DaemonSet Deployment ReplicaSet StatefulSet",
        "autoscaling": "HorizontalPodAutoscaler",
        "batch": "CronJob Job",
        "coordination.k8s.io": "Lease",
        "discovery.k8s.io": "EndpointSlice",
        "events.k8s.io": "Event",
        "extensions": "Ingress",
        "networking.k8s.io": "Ingress NetworkPolicy",
        "policy": "PodDisruptionBudget",
        "rbac.authorization.k8s.io": "Role RoleBinding",
        "storage.k8s.io": "CSIStorageCapacity",
    ]

    private static let ofTheCluster: [String: String] = [
        "": "Namespace Node PersistentVolume",
        "admissionregistration.k8s.io": """
        MutatingAdmissionPolicy MutatingAdmissionPolicyBinding MutatingWebhookConfiguration ValidatingAdmissionPolicy ValidatingAdmissionPolicyBinding \
        ValidatingWebhookConfiguration
        """,
        "apiextensions.k8s.io": "CustomResourceDefinition",
        "apiregistration.k8s.io": "APIService",
        "certificates.k8s.io": "CertificateSigningRequest",
        "flowcontrol.apiserver.k8s.io": "FlowSchema PriorityLevelConfiguration",
        "networking.k8s.io": "IPAddress IngressClass ServiceCIDR",
        "node.k8s.io": "RuntimeClass",
        "policy": "PodSecurityPolicy",
        "rbac.authorization.k8s.io": "ClusterRole ClusterRoleBinding",
        "scheduling.k8s.io": "PriorityClass",
        "storage.k8s.io": "CSIDriver CSINode StorageClass VolumeAttachment VolumeAttributesClass",
    ]

    static func resource(_ kind: String, in groupVersion: GroupVersion) -> APIResource? {
        func has(_ table: [String: String]) -> Bool {
            table[groupVersion.group]?.split(whereSeparator: \.isWhitespace).contains { $0 == kind } ?? false
        }
        let isNamespaced = has(namespaced)
        guard isNamespaced || has(ofTheCluster) else { return nil }
        return APIResource(groupVersion: groupVersion, kind: kind, plural: plural(kind), isNamespaced: isNamespaced)
    }

    /// As English has it, which all of these follow but one. Kinds of operators need not.
    private static func plural(_ kind: String) -> String {
        let name = kind.lowercased()
        if kind == "Endpoints" { return name }
        if name.hasSuffix("s") { return "\(name)es" }
        return name.hasSuffix("y") ? "\(name.dropLast())ies" : "\(name)s"
    }
}
