import KubernetesAPI
import ResourceModel
import Values

/// Which of the declared kinds a server has, and those that come with definitions among the specs.
///
/// It is handed from observing to comparing as one more entry of the cluster's facts: paths are the server's to choose.
struct ServedKinds: Sendable {
    /// No object has this as its address: those begin with an apiVersion and a slash.
    static let factsKey = "discovery"

    private var served: [String: APIResource] = [:]
    /// By group and kind; the definition's own key.
    private var defined: [String: (key: String, api: APIResource, versions: Set<String>)] = [:]

    init(served: [APIResource], declared: [Declared]) {
        for api in served { self.served["\(api.groupVersion)/\(api.kind)"] = api }
        for definition in declared where definition.isDefinition {
            let spec = definition.body["spec"]
            guard let group = spec?["group"]?.stringValue, let kind = spec?[path: "names", "kind"]?.stringValue,
                let plural = spec?[path: "names", "plural"]?.stringValue
            else { continue }
            let versions = (spec?["versions"]?.arrayValue ?? []).filter { $0["served"] != false }.compactMap { $0["name"]?.stringValue }
            let api = APIResource(
                groupVersion: GroupVersion(group: group, version: ""),
                kind: kind,
                plural: plural,
                isNamespaced: spec?["scope"] != "Cluster"
            )
            defined["\(group)/\(kind)"] = (definition.key, api, Set(versions))
        }
    }

    init(facts: [String: ObservedObject], declared: [Declared]) {
        let entries = facts[Self.factsKey]?.live?.objectValue ?? [:]
        let served = entries.compactMap { key, value -> APIResource? in
            guard let slash = key.lastIndex(of: "/"), let plural = value["plural"]?.stringValue else { return nil }
            return APIResource(
                groupVersion: GroupVersion(String(key[..<slash])),
                kind: String(key[key.index(after: slash)...]),
                plural: plural,
                isNamespaced: value["namespaced"]?.boolValue ?? true,
                verbs: Set((value["verbs"]?.arrayValue ?? []).compactMap(\.stringValue))
            )
        }
        self.init(served: served, declared: declared)
    }

    /// As an entry of the facts: only what was asked for, not all that a server has.
    func facts(for declared: [Declared]) -> ObservedObject {
        var entries: [String: Value] = [:]
        for object in declared {
            guard let api = served[object.kindKey] else { continue }
            entries[object.kindKey] = [
                "plural": .string(api.plural), "namespaced": .bool(api.isNamespaced), "verbs": .array(api.verbs.sorted().map(Value.string)),
            ]
        }
        return ObservedObject(live: .object(entries))
    }

    func api(_ object: Declared) -> APIResource? { served[object.kindKey] ?? definition(of: object)?.api }

    func isServed(_ object: Declared) -> Bool { served[object.kindKey] != nil }

    /// The definition among the specs that makes this object's kind and version.
    func definition(of object: Declared) -> (key: String, api: APIResource)? {
        guard let found = defined["\(object.groupVersion.group)/\(object.kind)"], found.versions.contains(object.groupVersion.version) else {
            return nil
        }
        var api = found.api
        api.groupVersion.version = object.groupVersion.version
        return (found.key, api)
    }
}

extension Declared {
    var isDefinition: Bool { kind == "CustomResourceDefinition" && groupVersion.group == "apiextensions.k8s.io" }

    var isNamespace: Bool { kind == "Namespace" && groupVersion.group.isEmpty }

    /// Definitions, then namespaces, then what admission looks at when something else is made, then the rest; webhooks last, so that one
    /// whose server is part of the same plan does not stand in the plan's way.
    var phase: Int {
        switch (groupVersion.group, kind) {
        case _ where isDefinition: 0
        case _ where isNamespace: 1
        case ("", "ServiceAccount"), ("", "LimitRange"), ("", "ResourceQuota"), ("scheduling.k8s.io", _), ("storage.k8s.io", "StorageClass"),
            ("networking.k8s.io", "IngressClass"), ("node.k8s.io", _), ("rbac.authorization.k8s.io", _):
            2
        case ("admissionregistration.k8s.io", _): 4
        default: 3
        }
    }
}
