package import KubernetesAPI
package import ResourceModel
import Values

/// What was learnt of a cluster by asking it, so that an event can be judged without asking again: the event is the observation.
///
/// - Flow: `learn` from each pass; `judge` what events bring; after a change `learn` from the server's answer, which makes a GET needless.
/// - Guarantees: what is judged here stands as a full pass would have it. What can't be told without the server is not guessed at: it is named in
///   `needsFullPass`. A difference that a change has left, or that a dry-run has found to be none, is none from then on, so that a value which the
///   server writes in its own way is not fought. Secrets are hidden from the moment they are read.
/// - Assumptions: one memory a revision and cluster. Whoever has other specs begins a new one with a full pass.
package struct ClusterMemory: Sendable {
    /// UID of namespace `kube-system`.
    package let identity: String
    private let inventory: String?
    private var discovery: [String: Value] = [:]
    private var owned: [ResourceAddress: OwnedResource] = [:]
    private var objects: [ResourceAddress: Entry] = [:]

    private struct Entry: Sendable {
        /// What differs as it is written, and is the same to the server.
        var equivalents: Set<ObjectComparison.Difference> = []
        var uid: Value?
        var version: UInt64?
    }

    /// nil: these are no facts of a cluster.
    package init?(_ facts: TargetFacts, of resources: [DesiredResource]) {
        guard case .cluster = facts.facts else { return nil }
        identity = facts.identity
        inventory = facts.inventory
        learn(facts, of: resources)
    }

    /// Takes in what a pass saw, of all objects or of some.
    package mutating func learn(_ facts: TargetFacts, of resources: [DesiredResource]) {
        guard case .cluster(let observed) = facts.facts else { return }
        discovery.merge(observed[ServedKinds.factsKey]?.live?.objectValue ?? [:]) { $1 }
        for resource in facts.owned { owned[resource.address] = resource }
        for (resource, drift) in zip(resources, KubernetesObject.detect(resources, facts)) {
            guard let live = observed[resource.address.resource]?.live else {
                objects[resource.address] = nil
                continue
            }
            remember(Declared(resource), live, isInSync: drift.standing == .inSync)
        }
    }

    /// Takes in what the server answered to a step of an action, and says how the object stands with it.
    ///
    /// - Returns: facts like those of a pass over this object; nil: the answer is no object, or does not say all, and a pass has to.
    package mutating func learn(from answer: APIResponse, to request: Step.Request, of resource: DesiredResource) -> TargetFacts? {
        guard APIStatus(answer) == nil, answer.body[path: "metadata", "uid"] != nil else { return nil }
        let live = Secrets.hide(answer.body)
        // Whatever still differs after an apply, an apply does not change.
        remember(Declared(resource), live, isInSync: request.contentType == ContentType.apply)
        let judgement = judge([resource], live: [resource.address: .there(live)])
        return judgement.resources.isEmpty ? nil : judgement.facts
    }

    private mutating func remember(_ object: Declared, _ live: Value, isInSync: Bool) {
        var entry = Entry(uid: live[path: "metadata", "uid"], version: Self.version(live))
        if isInSync {
            let differences = ObjectComparison.local(object, live: live).differences
            // What we no longer declare of somebody else's object is let go of by a request of its own.
            entry.equivalents = Set(differences.filter { $0.isDeclared || !object.managesFieldsOnly })
        } else if let known = objects[object.resource.address], known.uid == entry.uid {
            entry.equivalents = known.equivalents
        }
        objects[object.resource.address] = entry
    }

    var servedKinds: ServedKinds { ServedKinds(facts: [ServedKinds.factsKey: ObservedObject(live: .object(discovery))], declared: []) }

    /// Versions are the server's own business, but those of one object grow, and clients are told to compare them as numbers.
    private static func version(_ live: Value) -> UInt64? { live[path: "metadata", "resourceVersion"]?.stringValue.flatMap { UInt64($0) } }
}

/// How objects stand by what events said of them.
package struct ObjectJudgement: Sendable {
    /// Those that could be judged: to be compared with `facts` and planned like those of a pass.
    package var resources: [DesiredResource] = []
    package var facts: TargetFacts
    /// Those that only a pass can judge, and why.
    package var needsFullPass: [ResourceAddress: String] = [:]
    /// Those of which something newer was seen already: nothing is to be done.
    package var outdated: [ResourceAddress] = []
}

extension ClusterMemory {
    /// Judges objects by what they are now.
    ///
    /// - Parameters:
    ///   - resources: declared; those of which `live` says nothing are passed over.
    ///   - live: by address what was seen last.
    package func judge(_ resources: [DesiredResource], live: [ResourceAddress: SeenObject]) -> ObjectJudgement {
        var observed = [ServedKinds.factsKey: ObservedObject(live: .object(discovery))]
        let kinds = servedKinds
        var judgement = ObjectJudgement(facts: TargetFacts(identity: identity, facts: .cluster([:])))
        for resource in resources {
            guard let found = live[resource.address] else { continue }
            switch verdict(Declared(resource), found, kinds) {
            case .observed(let object):
                observed[resource.address.resource] = object
                judgement.resources.append(resource)
            case .outdated: judgement.outdated.append(resource.address)
            case .open(let why): judgement.needsFullPass[resource.address] = why
            }
        }
        judgement.facts.facts = .cluster(observed)
        judgement.facts.inventory = inventory
        // Of others nothing was seen, and what is not seen must not look as if it were no longer declared.
        judgement.facts.owned = judgement.resources.compactMap { owned[$0.address] }
        return judgement
    }

    private enum Verdict {
        case observed(ObservedObject)
        case outdated
        case open(String)
    }

    private func verdict(_ object: Declared, _ found: SeenObject, _ kinds: ServedKinds) -> Verdict {
        guard kinds.isServed(object) else { return .open("its kind was not there when the cluster was read last") }
        // Said of what is declared, whatever is there.
        if object.mistake != nil { return .observed(ObservedObject()) }
        guard case .there(let shown) = found else {
            return object.managesFieldsOnly ? .observed(ObservedObject()) : .open("it is gone, and is made anew with what it needs")
        }
        let live = Secrets.hide(shown)
        let entry = objects[object.resource.address]
        if let entry, entry.uid == live[path: "metadata", "uid"], let seen = entry.version, let version = Self.version(live), version < seen {
            return .outdated
        }
        guard live[path: "metadata", "deletionTimestamp"] == nil else { return .observed(ObservedObject(live: live)) }
        let local = ObjectComparison.local(object, live: live).differences
        let open = local.filter { !(entry?.equivalents.contains($0) ?? false) }
        guard !local.isEmpty else { return .observed(ObservedObject(live: live)) }
        guard let unclear = open.first(where: { !$0.isPlain }) else {
            guard open.isEmpty || object.resource.dependsOn.isEmpty else { return .open("it differs, and depends on other resources") }
            // What a dry-run would say: what is declared, and the rest as it is.
            let predicted = open.reduce(live) { $0.setting($1.desired ?? .null, at: $1.place.steps[...]) }
            return .observed(ObservedObject(live: live, predicted: predicted))
        }
        return .open("whether \(unclear.place.path) differs is the server's to say")
    }
}

extension ObjectComparison.Difference {
    /// Whether it differs to any reader: one value in place of another of its type, or in place of none.
    fileprivate var isPlain: Bool {
        guard isDeclared, let desired else { return false }
        // In lists without keys an element is no field of its own.
        let isField = place.steps.allSatisfy { step in
            switch step {
            case .field, .key: true
            case .value, .index: false
            }
        }
        guard isField else { return false }
        guard let observed, observed != .null else { return Self.type(desired) != nil }
        guard let type = Self.type(desired), type == Self.type(observed) else { return false }
        // `1000m` and `1` can be one amount.
        guard type != "number", let amount = Quantity.amount(desired) else { return true }
        return amount != Quantity.amount(observed)
    }

    /// nil: no scalar.
    private static func type(_ value: Value) -> String? {
        switch value {
        case .bool: "bool"
        case .int, .double: "number"
        case .string: "string"
        case .sensitive(let secret): type(secret.exposed).map { "sensitive \($0)" }
        case .null, .array, .object: nil
        }
    }
}

extension Value {
    /// With another value at a place; as it is, where there is no such place.
    fileprivate func setting(_ value: Value, at steps: ArraySlice<FieldStep>) -> Value {
        guard let step = steps.first else { return value }
        var result = self
        switch step {
        case .field(let name): result[name] = (self[name] ?? [:]).setting(value, at: steps.dropFirst())
        case .key(let key):
            guard var elements = arrayValue, let index = ListShape.index(of: key, in: elements) else { return self }
            elements[index] = elements[index].setting(value, at: steps.dropFirst())
            result = .array(elements)
        case .value, .index: break
        }
        return result
    }
}
