import KubernetesAPI
import ResourceModel
import Values

// A namespace takes along all that is in it, a definition all objects of its kind. Where Plumb did not make them all, it does not delete the
// one they hang on: what a person put there is not Plumb's to judge.
extension ClusterReading {
    /// Looks into the namespaces and definitions that would be pruned.
    func lookInside(_ owned: OwnedObjects, _ server: Server, _ objects: inout [String: ObservedObject]) async throws(APIFailure) {
        let made = Set(owned.undeclared.filter { $0.entry.isCreated && !$0.entry.managesFieldsOnly && !$0.entry.isKept }.compactMap(\.entry.uid))
        var everything: [APIResource]?
        for (_, object) in owned.undeclared where object.isNamespace || object.isDefinition {
            guard let live = objects[object.key]?.live, let uid = live[path: "metadata", "uid"]?.stringValue, made.contains(uid),
                live[path: "metadata", "deletionTimestamp"] == nil
            else { continue }
            let contents: Contents
            if object.isNamespace {
                if everything == nil { everything = try await allKinds(server) }
                contents = try await self.contents(of: object.name, kinds: everything ?? [])
            } else {
                contents = try await self.contents(definition: live)
            }
            let services = Set(owned.undeclared.filter { $0.object.kind == "Service" && $0.entry.isCreated }.map(\.object.name))
            guard let message = contents.objection(to: object, made: made, services: services) else { continue }
            objects[object.key]?.problem = Problem(target: cluster, address: object.resource.address, status: .held, message: message)
        }
    }

    private struct Contents {
        var items: [(kind: String, object: Value)] = []
        /// Why something of it could not be read.
        var unreadable: String?

        func objection(to container: Declared, made: Set<String>, services: Set<String>) -> String? {
            if let unreadable { return "Plumb made it, but can't tell what would go with it: \(unreadable)" }
            var seen: Set<String> = []
            let others = items.filter { kind, object in
                let uid = object[path: "metadata", "uid"]?.stringValue ?? ""
                // Some kinds are served by two groups.
                return seen.insert(uid).inserted && !made.contains(uid) && !Self.comesByItself(kind, object, services: services)
            }
            guard !others.isEmpty else { return nil }
            let names = others.map { kind, object in
                let place = [object[path: "metadata", "namespace"]?.stringValue, object[path: "metadata", "name"]?.stringValue]
                return "\(kind) \(place.compactMap(\.self).joined(separator: "/"))"
            }
            let count = others.count == 1 ? "an object that Plumb would not prune" : "\(others.count) objects that Plumb would not prune"
            let things = names.prefix(5).joined(separator: ", ") + (names.count > 5 ? " and \(names.count - 5) more" : "")
            return "Plumb made it, but with it would go \(count): \(things). Take them away first, or delete the \(container.kind) by hand"
        }

        /// What a cluster makes by itself, and what belongs to an object that is looked at on its own.
        private static func comesByItself(_ kind: String, _ object: Value, services: Set<String>) -> Bool {
            let metadata = object["metadata"]
            let name = metadata?["name"]?.stringValue ?? ""
            if !(metadata?["ownerReferences"]?.arrayValue ?? []).isEmpty { return true }
            switch kind {
            case "Event": return true
            case "ServiceAccount": return name == "default"
            case "ConfigMap": return ["kube-root-ca.crt", "openshift-service-ca.crt"].contains(name)
            case "Secret": return metadata?["annotations"]?["kubernetes.io/service-account.name"] == "default"
            case "Endpoints": return services.contains(name)
            default: return false
            }
        }
    }

    private func allKinds(_ server: Server) async throws(APIFailure) -> [APIResource] {
        let groups = try await send(APIRequest(.get, "/apis"))
        let preferred = (groups.body["groups"]?.arrayValue ?? []).compactMap { $0[path: "preferredVersion", "groupVersion"]?.stringValue }
        let known = Dictionary(grouping: server.kinds, by: \.groupVersion)
        let versions = [GroupVersion("v1")] + preferred.map { GroupVersion($0) }
        return try await concurrently(versions, width: 8) { (version) throws(APIFailure) in
            if let kinds = known[version] { return kinds }
            return try await kinds(of: version)
        }.flatMap(\.self)
    }

    private func contents(of namespace: String, kinds: [APIResource]) async throws(APIFailure) -> Contents {
        // What can't be deleted is an answer and no thing: figures of the metrics server.
        let listed = kinds.filter { $0.isNamespaced && $0.verbs.isSuperset(of: ["list", "delete"]) && $0.kind != "Event" }
        let found = try await concurrently(listed, width: 8) { (api) throws(APIFailure) in try await items(of: api, namespace: namespace) }
        return merged(found)
    }

    private func contents(definition: Value) async throws(APIFailure) -> Contents {
        let spec = definition["spec"]
        let version = (spec?["versions"]?.arrayValue ?? []).first { $0["served"] != false }?["name"]?.stringValue
        guard let group = spec?["group"]?.stringValue, let kind = spec?[path: "names", "kind"]?.stringValue,
            let plural = spec?[path: "names", "plural"]?.stringValue, let version
        else { return Contents(unreadable: "it serves no version") }
        let api = APIResource(
            groupVersion: GroupVersion(group: group, version: version),
            kind: kind,
            plural: plural,
            isNamespaced: spec?["scope"] != "Cluster"
        )
        return try await items(of: api, namespace: nil)
    }

    private func merged(_ all: [Contents]) -> Contents {
        Contents(items: all.flatMap(\.items), unreadable: all.lazy.compactMap(\.unreadable).first)
    }

    /// One page: where there are more than that, there are some that Plumb did not make.
    private func items(of api: APIResource, namespace: String?) async throws(APIFailure) -> Contents {
        let response: APIResponse
        do throws(APIFailure) {
            response = try await send(.list(api, namespace: namespace, limit: Self.pageSize))
        } catch  where error.cause == .unreadable {
            return Contents(unreadable: error.message)
        }
        if let status = APIStatus(response) {
            if status.code == 404 || status.code == 405 { return Contents() }
            return Contents(unreadable: RefusalWords(status, hidesText: true).missingRight ?? "\(api.qualifiedName) can't be listed (\(status.code))")
        }
        let items = (response.body["items"]?.arrayValue ?? []).map { (kind: api.kind, object: $0) }
        let isMore = !(response.body[path: "metadata", "continue"]?.stringValue ?? "").isEmpty
        return Contents(items: items, unreadable: isMore ? "there are more than \(Self.pageSize) \(api.plural) in it" : nil)
    }
}
