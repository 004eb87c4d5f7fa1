import KubernetesAPI
import ResourceModel
import Values

extension KubernetesObject {
    static func detect(_ desired: [DesiredResource], _ facts: TargetFacts) -> [ResourceDrift] {
        let declared = desired.map(Declared.init)
        guard case .cluster(let objects) = facts.facts else {
            return declared.map { $0.drift(.problem(.unknown, "a cluster's facts were expected; this is a mistake in Plumb, please report it")) }
        }
        let kinds = ServedKinds(facts: objects, declared: declared)
        let namespaces = Dictionary(declared.filter(\.isNamespace).map { ($0.name, $0.key) }) { first, _ in first }
        return declared.map { object in
            var drift = detect(object, objects[object.key], kinds).held(byAnnotationOf: objects[object.key]?.live)
            // What is not there yet has to be made first. What is there but differs need not be waited for.
            var needed: [String?] = []
            if let namespace = object.namespace { needed.append(namespaces[namespace].flatMap { objects[$0]?.live == nil ? $0 : nil }) }
            if !kinds.isServed(object) { needed.append(kinds.definition(of: object)?.key) }
            drift.dependsOn += needed.compactMap(\.self).map { ResourceAddress(target: object.resource.address.target, resource: $0) }
            return drift
        }
    }

    private static func detect(_ object: Declared, _ observed: ObservedObject?, _ kinds: ServedKinds) -> ResourceDrift {
        guard let observed else {
            return object.drift(.problem(.unknown, "it was not asked for; this is a mistake in Plumb, please report it"))
        }
        if let mistake = object.mistake { return object.drift(.problem(.invalid, mistake)) }
        if let problem = observed.problem {
            var drift = object.drift(.problem(problem.status, problem.message))
            if let live = observed.live { drift.differences = fields(ObjectComparison.local(object, live: live).differences) }
            return drift
        }
        guard let api = kinds.api(object) else {
            return object.drift(.problem(.invalid, "this server has no kind \(object.kind) in \(object.groupVersion)"))
        }
        guard let live = observed.live else { return missing(object, observed, api) }
        if let time = live[path: "metadata", "deletionTimestamp"]?.stringValue {
            let finalizers = (live[path: "metadata", "finalizers"]?.arrayValue ?? []).compactMap(\.stringValue)
            let waiting = finalizers.isEmpty ? "" : ", held up by \(finalizers.joined(separator: ", "))"
            return object.drift(.problem(.blocked, "waits for the old one to be gone: it is being deleted, since \(time)\(waiting)"))
        }
        return compare(object, observed, live, api)
    }

    private static func missing(_ object: Declared, _ observed: ObservedObject, _ api: APIResource) -> ResourceDrift {
        if object.managesFieldsOnly {
            return object.drift(
                .problem(
                    .blocked,
                    "waits for \(object.words): it is not there, and with plumb/manage: fields it is somebody else's, so Plumb never creates it"
                )
            )
        }
        let comparison = ObjectComparison.local(object, live: nil)
        var drift = object.drift(.missing)
        drift.differences = fields(comparison.differences)
        drift.reason = observed.unconfirmed.map { "not confirmed by the server: \($0)" } ?? ""
        drift.fingerprint = ["uid": .null]
        drift.details = details(object, api, live: nil, isForced: false)
        return drift
    }

    private static func compare(_ object: Declared, _ observed: ObservedObject, _ live: Value, _ api: APIResource) -> ResourceDrift {
        let local = ObjectComparison.local(object, live: live)
        let found = observed.predicted.map { ObjectComparison.confirmed(object, live: live, predicted: $0) } ?? local
        var differences = found.differences
        // Somebody else's object: what we no longer assert is let go of and keeps its value. Applying without it would reset it.
        var released: [ObjectPlace] = []
        if object.managesFieldsOnly {
            differences.removeAll { !$0.isDeclared }
            released = local.differences.filter { !$0.isDeclared }.map(\.place)
        }
        var drift = object.drift(.inSync)
        drift.fingerprint = ["uid": live[path: "metadata", "uid"] ?? .null, "fields": .object(found.observed)]
        // Equal here: nothing was asked and nothing has to be sent.
        guard !local.differences.isEmpty, !differences.isEmpty || !released.isEmpty else { return drift }
        drift.standing = .differs
        drift.differences = fields(differences)

        let entries = ManagedFieldsEntry.entries(of: live)
        // What others hold with another value is refused unless it is forced. Values are compared as they are written there, so this looks at
        // what differs here; and only what is found taken now may be taken.
        let held = local.differences.filter(\.isDeclared).flatMap { ObjectOwners.holders(of: $0.place, in: entries) }
        let taken = Set(held.map(\.manager))
        var reasons = [ObjectOwners.reason(differences, in: entries)]
        if !taken.isEmpty { drift.fingerprint["takenFrom"] = .array(taken.sorted().map(Value.string)) }
        if let owner = ObjectOwners.owner(of: live) {
            guard object.managesFieldsOnly || object.resource.instructions.takesOver else {
                drift.standing = .problem(
                    .held,
                    "owned by \(owner). Change it there, or write plumb/take-over: \"true\" to take it over, or plumb/manage: fields to hold "
                        + "only these fields"
                )
                return drift
            }
            reasons.append("owned by \(owner)")
        }
        if let unconfirmed = observed.unconfirmed { reasons.append("not confirmed by the server: \(unconfirmed)") }
        drift.reason = reasons.filter { !$0.isEmpty }.joined(separator: "; ")
        drift.details = details(object, api, live: live, isForced: !taken.isEmpty)
        drift.details["applies"] = .bool(!differences.isEmpty)
        if let release = Release(released, entries: entries, live: live) {
            drift.details["release"] = .array(release.operations)
            drift.differences.append(FieldDifference(path: Release.path, observed: .string(release.words), desired: nil))
        }
        return drift
    }

    private static func fields(_ differences: [ObjectComparison.Difference]) -> [FieldDifference] {
        differences.map { FieldDifference(path: $0.place.path, observed: $0.observed, desired: $0.desired) }
    }

    private static func details(_ object: Declared, _ api: APIResource, live: Value?, isForced: Bool) -> Value {
        [
            "words": .string(object.words), "path": .string(object.path(api)), "isForced": .bool(isForced), "creates": .bool(live == nil),
            "applies": true,
            "body": object.body(for: live, api),
        ]
    }
}

extension Declared {
    func drift(_ standing: ResourceDrift.Standing) -> ResourceDrift {
        ResourceDrift(
            address: resource.address,
            kind: resource.kind,
            handler: resource.handler,
            standing: standing,
            dependsOn: resource.dependsOn,
            phase: phase,
            origins: resource.origins
        )
    }

    /// The Service `kubernetes` is the API server's own. A manifest that would make it, or fields that only the server can know, would cut
    /// every pod off from the API.
    var mistake: String? {
        guard kind == "Service", groupVersion.group.isEmpty, namespace == "default", name == "kubernetes" else { return nil }
        guard managesFieldsOnly else { return "the API server makes this Service itself. Add the annotation plumb/manage: fields" }
        let reserved = ["clusterIP", "clusterIPs", "ports", "selector"].filter { body[path: "spec", $0] != nil }
        guard !reserved.isEmpty else { return nil }
        return "the API server itself keeps \(reserved.map { "spec.\($0)" }.joined(separator: ", ")) of this Service. Leave it out"
    }
}
