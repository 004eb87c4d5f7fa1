import KubernetesAPI
import ResourceModel
import Values

/// One reading of all desired objects of one cluster.
struct ClusterReading: Sendable {
    let cluster: String
    let declared: [Declared]
    let inventory: InventoryScope
    let send: APISender

    /// Requests under way at the same time.
    private static let width = 8
    /// From how many objects of one kind in one namespace on a list is asked for.
    static let listThreshold = 3
    static let pageSize = 500

    init(cluster: String, resources: [DesiredResource], inventory: InventoryScope = .none, send: @escaping APISender) {
        self.cluster = cluster
        declared = resources.map(Declared.init)
        self.inventory = inventory
        self.send = send
    }

    func read() async -> ClusterObservation {
        do throws(APIFailure) {
            let server = try await readServer()
            let owned = try await sort(server)
            let kinds = ServedKinds(served: server.kinds + owned.kinds, declared: declared)
            var objects = try await readObjects(declared + owned.undeclared.map(\.object), kinds)
            try await predict(&objects, kinds)
            try await lookInside(owned, server, &objects)
            let findings = InventoryFindings(owned, objects, cluster: cluster)
            objects[ServedKinds.factsKey] = kinds.facts(for: declared + owned.undeclared.map(\.object))
            let facts = TargetFacts(
                identity: server.identity,
                facts: .cluster(objects),
                owned: findings.owned,
                notes: server.notes + owned.notes
            )
            return ClusterObservation(observation: .observed(facts), inventory: findings)
        } catch {
            let problem = Problem(target: cluster, status: error.problemStatus, message: error.message)
            return ClusterObservation(observation: .failed(problem), inventory: nil)
        }
    }

    /// Asks for every object; the result has an entry for each address.
    private func readObjects(_ declared: [Declared], _ kinds: ServedKinds) async throws(APIFailure) -> [String: ObservedObject] {
        var objects: [String: ObservedObject] = [:]
        var groups: [String: (api: APIResource, objects: [Declared])] = [:]
        var unknown: [Declared] = []
        for object in declared {
            if kinds.isServed(object), let api = kinds.api(object) {
                guard api.verbs.isEmpty || api.verbs.isSuperset(of: ["get", "patch"]) else {
                    objects[object.key] = invalid(object, "objects of kind \(object.kind) can't be read and changed: they are answers, not things")
                    continue
                }
                guard !api.isNamespaced || object.namespace != nil else {
                    objects[object.key] = invalid(object, "a \(object.kind) lives in a namespace here. Give 'metadata.namespace'")
                    continue
                }
                groups["\(api.path(namespace: object.namespace))", default: (api, [])].objects.append(object)
            } else if let definition = kinds.definition(of: object) {
                objects[object.key] = ObservedObject(unconfirmed: "its kind comes with \(definition.key), which is created first")
            } else {
                unknown.append(object)
            }
        }
        let reads = groups.sorted { $0.key < $1.key }.flatMap { _, group -> [(APIResource, [Declared])] in
            let canList = group.api.verbs.isEmpty || group.api.verbs.contains("list")
            return canList && group.objects.count >= Self.listThreshold ? [(group.api, group.objects)] : group.objects.map { (group.api, [$0]) }
        }
        let found = try await concurrently(reads, width: Self.width) { (read) throws(APIFailure) in
            read.1.count == 1 ? try await get(read.1, read.0) : try await list(read.1, read.0)
        }
        for some in found { objects.merge(some) { first, _ in first } }
        let explained = try await concurrently(unknown, width: Self.width) { (object) throws(APIFailure) in
            (object.key, invalid(object, try await missingKind(object)))
        }
        for (key, object) in explained { objects[key] = object }
        return objects
    }

    private func get(_ wanted: [Declared], _ api: APIResource) async throws(APIFailure) -> [String: ObservedObject] {
        var objects: [String: ObservedObject] = [:]
        for object in wanted { objects[object.key] = try await get(object, api) }
        return objects
    }

    func get(_ object: Declared, _ api: APIResource) async throws(APIFailure) -> ObservedObject {
        let response: APIResponse
        do throws(APIFailure) {
            response = try await send(.get(api, namespace: object.namespace, name: object.name))
        } catch  where error.cause == .unreadable {
            return problem(object, .unknown, error.message)
        }
        guard let status = APIStatus(response) else { return ObservedObject(live: Secrets.hide(response.body)) }
        if status.code == 404, !status.isUnknownPath { return ObservedObject() }
        let refusal = Refusal(status, hidesText: false)
        var observed = ObservedObject()
        observed.problem = refusal.problem(at: object.resource.address)
        return observed
    }

    /// Reads pages until all that is wanted was seen.
    private func list(_ wanted: [Declared], _ api: APIResource) async throws(APIFailure) -> [String: ObservedObject] {
        var byName = Dictionary(grouping: wanted, by: \.name)
        var objects: [String: ObservedObject] = [:]
        let namespace = wanted.first?.namespace
        var next: String?
        while true {
            let response: APIResponse
            do throws(APIFailure) {
                response = try await send(.list(api, namespace: namespace, limit: Self.pageSize, after: next))
            } catch  where error.cause == .unreadable {
                break
            }
            // Refused (a right to get and none to list), or the pages are no longer there (410): what is left is asked for one by one.
            guard APIStatus(response) == nil, let items = response.body["items"]?.arrayValue else { break }
            for item in items {
                guard let name = item[path: "metadata", "name"]?.stringValue, let objectsOfName = byName.removeValue(forKey: name) else { continue }
                var item = item
                // Elements of a list do not say what they are.
                item["apiVersion"] = .string(api.groupVersion.description)
                item["kind"] = .string(api.kind)
                for object in objectsOfName { objects[object.key] = ObservedObject(live: Secrets.hide(item)) }
            }
            next = response.body[path: "metadata", "continue"]?.stringValue
            guard let page = next, !page.isEmpty else {
                for missing in byName.values.joined() { objects[missing.key] = ObservedObject() }
                return objects
            }
            if byName.isEmpty { return objects }
            // A namespace with thousands of others: single questions are cheaper than reading on.
            let rest = response.body[path: "metadata", "remainingItemCount"]?.intValue ?? 0
            if rest > Int64(byName.count * Self.pageSize) { break }
        }
        let rest = try await get(byName.values.flatMap(\.self).sorted { $0.key < $1.key }, api)
        return objects.merging(rest) { first, _ in first }
    }

    /// Asks the server what an apply would make of each object that is not as declared.
    func predict(_ objects: inout [String: ObservedObject], _ kinds: ServedKinds) async throws(APIFailure) {
        let namespaces = Dictionary(declared.filter(\.isNamespace).map { ($0.name, $0.key) }) { first, _ in first }
        var open: [(Declared, ObservedObject, APIResource)] = []
        for object in declared {
            guard let observed = objects[object.key], observed.problem == nil, observed.unconfirmed == nil, object.mistake == nil,
                let api = kinds.api(object)
            else { continue }
            if let live = observed.live {
                if live[path: "metadata", "deletionTimestamp"] != nil { continue }
                if ObjectComparison.local(object, live: live).differences.isEmpty { continue }
            } else {
                if object.managesFieldsOnly { continue }
                if api.isNamespaced, let namespace = object.namespace.flatMap({ namespaces[$0] }), objects[namespace]?.live == nil {
                    objects[object.key]?.unconfirmed = "its namespace is created first"
                    continue
                }
            }
            open.append((object, observed, api))
        }
        let predicted = try await concurrently(open, width: Self.width) { (object, observed, api) throws(APIFailure) in
            (object.key, try await predict(object, observed, api, isSecondTry: false))
        }
        for (key, object) in predicted { objects[key] = object }
    }

    private func predict(
        _ object: Declared,
        _ observed: ObservedObject,
        _ api: APIResource,
        isSecondTry: Bool
    ) async throws(APIFailure) -> ObservedObject {
        let body = object.body(for: observed.live, api)
        let request = APIRequest.apply(
            object.path(api),
            body: body,
            fieldManager: KubernetesObject.fieldManager,
            isForced: true,
            isDryRun: true
        )
        var observed = observed
        let response: APIResponse
        do throws(APIFailure) { response = try await send(request) } catch  where error.cause == .unreadable {
            observed.unconfirmed = error.message
            return observed
        }
        guard let status = APIStatus(response) else {
            observed.predicted = Secrets.hide(response.body)
            return observed
        }
        // Gone, or made anew, between the two questions.
        if status.code == 409, !isSecondTry {
            let again = try await get(object, api)
            guard again.problem == nil, again.live != nil || !object.managesFieldsOnly else { return again }
            return try await predict(object, again, api, isSecondTry: true)
        }
        let refusal = Refusal(status, hidesText: Secrets.areIn(body))
        switch refusal.meaning {
        case .notAsked: observed.unconfirmed = refusal.message
        case .problem: observed.problem = refusal.problem(at: object.resource.address)
        }
        return observed
    }

    func problem(_ object: Declared, _ status: ProblemStatus, _ message: String) -> ObservedObject {
        ObservedObject(problem: Problem(target: cluster, address: object.resource.address, status: status, message: message))
    }

    private func invalid(_ object: Declared, _ message: String) -> ObservedObject { problem(object, .invalid, message) }
}

extension APIFailure {
    var problemStatus: ProblemStatus {
        switch cause {
        case .unreachable, .timedOut: .unreachable
        case .untrusted, .credentials: .denied
        case .unreadable: .unknown
        }
    }
}

/// Does the same with every element, a few at a time; the results are in the order of the elements. The first failure ends it.
func concurrently<Element: Sendable, Result: Sendable>(
    _ elements: [Element],
    width: Int,
    _ body: @escaping @Sendable (Element) async throws(APIFailure) -> Result
) async throws(APIFailure) -> [Result] {
    typealias Outcome = Swift.Result<Result, APIFailure>
    let outcomes = await withTaskGroup(of: (Int, Outcome).self) { group in
        var waiting = elements.enumerated().makeIterator()
        func startNext() {
            guard let (index, element) = waiting.next() else { return }
            group.addTask {
                do throws(APIFailure) { return (index, .success(try await body(element))) } catch { return (index, .failure(error)) }
            }
        }
        for _ in 0..<width { startNext() }
        var outcomes: [(Int, Outcome)] = []
        while let outcome = await group.next() {
            outcomes.append(outcome)
            if case .failure = outcome.1 {
                group.cancelAll()
                return [outcome]
            }
            startNext()
        }
        return outcomes.sorted { $0.0 < $1.0 }
    }
    var results: [Result] = []
    for (_, outcome) in outcomes { results.append(try outcome.get()) }
    return results
}
