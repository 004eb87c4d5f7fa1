package import KubernetesAPI
package import ResourceModel
import Values

/// The rights that these specs need in their cluster, and no others: each verb, resource and name that observing, applying and following them uses.
package struct AccessRules: Sendable {
    package struct Options: Sendable {
        /// Of the ServiceAccount, the election's Lease and what replicas share.
        package var namespace = "plumb"
        package var serviceAccount = "plumb"
        /// Looks and tells, and changes nothing.
        package var isReportOnly = false
        /// For `plumb run` with more than one replica.
        package var electsLeader = true
        package var leaderLease = "plumb-controller"
        /// What a server says of its kinds. It goes before what is known here.
        package var served: [APIResource] = []

        package init() {}
    }

    /// One entry of a Role.
    package struct Rule: Hashable, Sendable {
        /// nil: in the whole cluster, or of things that are in no namespace.
        package var namespace: String?
        package var group: String
        /// `services`
        package var resource: String
        package var verbs: [String]
        /// Empty: all names.
        package var names: [String] = []
        /// What it is for, one line.
        package var purpose: String

        fileprivate func grants(the other: Rule) -> Bool {
            (namespace, group, resource) == (other.namespace, other.group, other.resource) && verbs == other.verbs && names == other.names
        }
    }

    /// Kinds whose names in rights are known neither here nor from the specs.
    package struct UnknownKinds: Error, Hashable {
        /// `Widget.example.org`
        package var kinds: [String]
    }

    package private(set) var rules: [Rule] = []
    /// What is left out and why, and what gives away more than it seems to.
    package private(set) var notes: [String] = []
    /// That must be there before the Roles in them can be made.
    package private(set) var namespaces: [String] = []
    package let options: Options
    private let inventory: InventoryID

    /// - Parameter resources: what is declared in this one cluster.
    package init(_ resources: [DesiredResource], inventory: InventoryID, options: Options) throws(UnknownKinds) {
        self.options = options
        self.inventory = inventory
        let objects = resources.map(Declared.init)
        let kinds = ServedKinds(served: options.served, declared: objects)
        var unknown: Set<String> = []
        var placed: [(object: Declared, api: APIResource)] = []
        for object in objects {
            if let api = kinds.api(object) ?? BuiltInKinds.resource(object.kind, in: object.groupVersion) {
                placed.append((object, api))
            } else {
                let group = object.groupVersion.group
                unknown.insert(group.isEmpty ? object.kind : "\(object.kind).\(group)")
            }
        }
        guard unknown.isEmpty else { throw UnknownKinds(kinds: unknown.sorted()) }
        addOwn(count: objects.count)
        add(placed)
        addEscalation(placed)
        let declared = Set(objects.filter(\.isNamespace).map(\.name))
        let used = Set(rules.compactMap(\.namespace))
        namespaces = used.intersection(declared).union([options.namespace]).subtracting(["default", "kube-system"]).sorted()
        // The cluster's own first, then namespace by namespace.
        let order = Dictionary(rules.enumerated().map { ($1, $0) }) { first, _ in first }
        rules.sort { ($0.namespace ?? "", order[$0] ?? 0) < ($1.namespace ?? "", order[$1] ?? 0) }
    }

    // MARK: What Plumb keeps for itself

    private mutating func addOwn(count: Int) {
        add(nil, "", "namespaces", ["get"], ["kube-system"], "which cluster it is: by the UID of this namespace")
        let place = inventory.namespace
        let what = "the inventory of what Plumb holds"
        add(place, "", "configmaps", ["list"], [], what)
        if !options.isReportOnly {
            add(place, "", "configmaps", ["create"], [], what)
            // One holds at least 3,000 objects; one more than it takes.
            let shards = (0...(count / 3000 + 1)).map(inventory.shardName)
            add(place, "", "configmaps", ["update", "delete"], shards, what)
            let lock = "the lock of an apply"
            let lease = Lease.Place.apply
            add(lease.namespace, Self.leases, "leases", ["create"], [], lock)
            add(lease.namespace, Self.leases, "leases", ["get", "update"], [lease.name], lock)
        }
        guard options.electsLeader else { return }
        let election = "which replica acts"
        add(options.namespace, Self.leases, "leases", ["create"], [], election)
        add(options.namespace, Self.leases, "leases", ["get", "update"], [options.leaderLease], election)
        let shared = "what the replicas share: pauses, fights, the last good revision"
        add(options.namespace, "", "configmaps", ["create"], [], shared)
        add(options.namespace, "", "configmaps", ["get", "update"], ["plumb-controller"], shared)
    }

    private static let leases = "coordination.k8s.io"

    private mutating func add(_ namespace: String?, _ group: String, _ resource: String, _ verbs: [String], _ names: [String], _ purpose: String) {
        let rule = Rule(namespace: namespace, group: group, resource: resource, verbs: verbs, names: names, purpose: purpose)
        if let index = rules.firstIndex(where: { $0.grants(the: rule) }) {
            if rules[index].purpose != purpose { rules[index].purpose += "; \(purpose)" }
        } else {
            rules.append(rule)
        }
    }

    // MARK: What the specs declare

    private struct Group: Hashable, Comparable {
        var namespace: String
        var group: String
        var plural: String

        static func < (a: Self, b: Self) -> Bool { (a.namespace, a.group, a.plural) < (b.namespace, b.group, b.plural) }
    }

    private mutating func add(_ placed: [(object: Declared, api: APIResource)]) {
        let filled = Set(placed.compactMap { $0.api.isNamespaced ? $0.object.namespace : nil })
        let groups = Dictionary(grouping: placed) { object, api in
            Group(namespace: api.isNamespaced ? object.namespace ?? "default" : "", group: api.groupVersion.group, plural: api.plural)
        }
        for (group, members) in groups.sorted(by: { $0.key < $1.key }) {
            let namespace = group.namespace.isEmpty ? nil : group.namespace
            // Where several are declared all of them are listed and followed at once.
            let isListed = members.count >= ClusterReading.listThreshold
            let byVerbs = Dictionary(grouping: members) { verbs(for: $0.object, isListed: isListed, isFilled: filled.contains($0.object.name)) }
            for (verbs, some) in byVerbs.sorted(by: { $0.key.count > $1.key.count }) {
                let names = Set(some.map(\.object.name)).sorted()
                add(namespace, group.group, group.plural, verbs, names, Self.purpose(verbs, kind: some[0].object.kind))
            }
            guard isListed else { continue }
            let why = "\(members.count) are declared, so they are listed and followed together"
            add(namespace, group.group, group.plural, ["list", "watch"], [], why)
            if members[0].object.kind == "Secret", let namespace {
                notes.append("Reads all Secrets of namespace \(namespace), as \(members.count) are declared there.")
            }
        }
    }

    private mutating func verbs(for object: Declared, isListed: Bool, isFilled: Bool) -> [String] {
        // A single object is listed and followed by its name, which is allowed by its name, too.
        var verbs = isListed ? ["get"] : ["get", "list", "watch"]
        guard !options.isReportOnly else { return verbs }
        verbs.append("patch")
        guard !object.managesFieldsOnly else { return verbs }
        // One with Roles in it is there before any of this.
        let isMadeBefore = object.isNamespace && isFilled
        if !isMadeBefore { verbs.append("create") }
        guard !object.resource.instructions.keepsWhenUndeclared, !isMadeBefore else { return verbs }
        if object.isNamespace || object.isDefinition {
            notes.append(
                "\(object.words) is not pruned with these rights: with it goes all that hangs on it, and to see that, Plumb would have to list everything."
            )
            return verbs
        }
        verbs.append("delete")
        return verbs
    }

    private static func purpose(_ verbs: [String], kind: String) -> String {
        if verbs.contains("delete") { return "\(kind): made, kept as declared, deleted when no longer declared" }
        if verbs.contains("create") { return "\(kind): made and kept as declared, never deleted" }
        return verbs.contains("patch") ? "\(kind): only the declared fields of what is there" : "\(kind): looked at"
    }

    /// Nobody can give rights away that they don't have, unless they may do just that.
    private mutating func addEscalation(_ placed: [(object: Declared, api: APIResource)]) {
        guard !options.isReportOnly else { return }
        for (object, api) in placed where api.groupVersion.group == Self.rbac && !object.managesFieldsOnly {
            let namespace = api.isNamespaced ? object.namespace ?? "default" : nil
            switch object.kind {
            case "Role", "ClusterRole":
                add(namespace, Self.rbac, api.plural, ["escalate"], [object.name], "\(object.kind): with rights that Plumb lacks")
            default:
                guard let role = object.body[path: "roleRef", "name"]?.stringValue else { continue }
                let plural = object.body[path: "roleRef", "kind"] == "Role" ? "roles" : "clusterroles"
                add(namespace, Self.rbac, plural, ["bind"], [role], "\(object.kind) \(object.name): gives these rights to others")
            }
            notes.append("\(object.words) is declared: whoever changes the specs can give away what it grants.")
        }
    }

    private static let rbac = "rbac.authorization.k8s.io"
}

extension ClusterKinds {
    /// What a server says of the kinds that are declared; for `AccessRules`.
    package static func servedKinds(of resources: [DesiredResource], send: @escaping APISender) async throws(APIFailure) -> [APIResource] {
        let reading = ClusterReading(cluster: "", resources: resources, send: send)
        let versions = Set(reading.declared.map(\.groupVersion)).sorted { $0.description < $1.description }
        return try await concurrently(versions, width: 8) { (version) throws(APIFailure) in try await reading.kinds(of: version) }.flatMap(\.self)
    }
}
