import KubernetesAPI
import ResourceModel
import Values

extension KubernetesObject {
    /// What becomes of objects that the inventory has and that no spec declares any more: what Plumb made is deleted, all else is given up.
    static func undeclared(_ owned: [OwnedResource], _ facts: TargetFacts) -> [ResourceDrift] {
        guard case .cluster(let objects) = facts.facts else { return [] }
        var drifts: [(object: Declared, drift: ResourceDrift)] = []
        let kinds = ServedKinds(facts: objects, declared: [])
        for owned in owned {
            guard let object = Declared(owned: owned.address.resource, at: owned.address.target), let observed = objects[object.key],
                var drift = undeclared(owned, object, observed, kinds)
            else { continue }
            drift.isUndeclared = true
            drifts.append((object, drift.held(byAnnotationOf: observed.live)))
        }
        // What is in a namespace, or of a definition's kind, goes before it, so that its own end is seen.
        for index in drifts.indices where drifts[index].drift.standing == .surplus {
            let container = drifts[index].object
            guard container.isNamespace || container.isDefinition else { continue }
            let spec = objects[container.key]?.live?["spec"]
            drifts[index].drift.dependsOn = drifts.filter { other, _ in
                container.isNamespace
                    ? other.namespace == container.name
                    : other.groupVersion.group == spec?["group"]?.stringValue && other.kind == spec?[path: "names", "kind"]?.stringValue
            }.map(\.drift.address)
        }
        return drifts.map(\.drift)
    }

    private static func undeclared(
        _ owned: OwnedResource,
        _ object: Declared,
        _ observed: ObservedObject,
        _ kinds: ServedKinds
    ) -> ResourceDrift? {
        var drift = object.drift(.surplus)
        drift.phase = object.prunePhase
        func problem(_ status: ProblemStatus, _ message: String) -> ResourceDrift {
            drift.standing = .problem(status, "no longer declared; \(message)")
            return drift
        }
        guard let live = observed.live else { return observed.problem.map { problem($0.status, $0.message) } }
        // Another one of its name is somebody else's.
        guard let uid = live[path: "metadata", "uid"]?.stringValue, owned.uid == uid else { return nil }
        let deletes = owned.isCreated && !owned.managesFieldsOnly && !owned.isKept
        if let time = live[path: "metadata", "deletionTimestamp"]?.stringValue {
            guard deletes else { return nil }
            return problem(.blocked, "it is being deleted, since \(time)\(hindrance(live, object))")
        }
        guard let api = kinds.api(object) else { return nil }
        drift.fingerprint = ["uid": .string(uid), "undeclared": true]
        drift.details = ["path": .string(object.path(api)), "words": .string(object.words), "uid": .string(uid)]
        guard deletes else {
            guard let release = Release(allOf: live) else { return nil }
            let why =
                if owned.managesFieldsOnly {
                    "its fields are given up"
                } else if owned.isKept {
                    "it is kept (plumb/prune: keep) and given up"
                } else {
                    "Plumb did not make it, so it is given up"
                }
            drift.standing = .differs
            drift.reason = "no longer declared; \(why), its values stay as they are"
            drift.phase = prunes
            drift.details["release"] = .array(release.operations)
            drift.differences = [FieldDifference(path: Release.path, observed: .string(release.words), desired: nil)]
            return drift
        }
        if let found = observed.problem { return problem(found.status, found.message) }
        if let owner = ObjectOwners.owner(of: live) {
            let advice = "'plumb release \(drift.address)' gives it up"
            return problem(.held, "Plumb made it, but now it is owned by \(owner), so it is not deleted. \(advice)")
        }
        drift.details["deletes"] = true
        let made = live[path: "metadata", "creationTimestamp"]?.stringValue ?? "a time unknown"
        drift.reason = "no longer declared; Plumb created it at \(made)"
        if object.isDefinition {
            let plural = live[path: "spec", "names", "plural"]?.stringValue
            drift.reason += "; with it go all \(plural ?? "objects of its kind")"
        }
        if object.isNamespace { drift.reason += "; with it goes all that is in it" }
        return drift
    }

    /// What an object that is being deleted waits for.
    private static func hindrance(_ live: Value, _ object: Declared) -> String {
        let finalizers = (live[path: "metadata", "finalizers"]?.arrayValue ?? []).compactMap(\.stringValue)
        if !finalizers.isEmpty {
            return ", and waits for \(finalizers.joined(separator: ", ")): whatever set this has to take it away again"
        }
        guard object.isNamespace else { return "" }
        let said = ["NamespaceContentRemaining", "NamespaceFinalizersRemaining", "NamespaceDeletionContentFailure"].compactMap { type in
            live.condition(type).flatMap { $0.isTrue ? $0.words : nil }
        }
        return said.isEmpty ? ", and what is in it is not all gone yet" : ": \(said.joined(separator: "; "))"
    }

    /// The steps for what is no longer declared; `details` has what it takes.
    static func pruning(_ drift: ResourceDrift, path: String, words: String) -> Change {
        if drift.details["deletes"] == true, let uid = drift.details["uid"]?.stringValue {
            let request = APIRequest.delete(path, uid: uid)
            let step = Step(.send(Step.Request(request)), summary: "delete \(words), if it is still the one with UID \(uid)")
            return Change(steps: [step], risk: disruptive.contains(drift.kind) ? .disruptive : .none)
        }
        guard let operations = drift.details["release"]?.arrayValue else { return Change(steps: []) }
        return Change(steps: [releaseStep(operations, path: path, words: words)])
    }

    private static func releaseStep(_ operations: [Value], path: String, words: String) -> Step {
        let request = APIRequest.jsonPatch(path, operations: operations, fieldManager: fieldManager)
        return Step(.send(Step.Request(request)), summary: "give up all that field manager \(fieldManager) holds of \(words); its values stay")
    }

    static func release(_ owned: OwnedResource, in facts: TargetFacts) -> [Step] {
        guard case .cluster(let objects) = facts.facts, let object = Declared(owned: owned.address.resource, at: owned.address.target),
            let live = objects[object.key]?.live, live[path: "metadata", "uid"]?.stringValue == owned.uid,
            let api = ServedKinds(facts: objects, declared: []).api(object), let release = Release(allOf: live)
        else { return [] }
        return [releaseStep(release.operations, path: object.path(api), words: object.words)]
    }

    /// Behind everything that is made or changed.
    private static let prunes = 100

    private static let disruptive: Set = [
        "Pod", "Deployment", "StatefulSet", "DaemonSet", "ReplicaSet", "Service", "Ingress", "NetworkPolicy", "PersistentVolumeClaim",
        "PersistentVolume", "Namespace", "CustomResourceDefinition", "Secret", "APIService",
    ]
}

extension Declared {
    /// The way things are made, backwards; what operators look after goes before the operators.
    fileprivate var prunePhase: Int {
        switch phase {
        case 4: 101
        case 3: groupVersion.group.contains(".") && !groupVersion.group.hasSuffix(".k8s.io") ? 102 : 103
        case 2: 104
        case 1: 105
        default: 106
        }
    }
}
