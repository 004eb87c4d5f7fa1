import KubernetesAPI
import ResourceModel
import Values

extension ClusterReading {
    struct Server: Sendable {
        var identity: String
        var notes: [String] = []
        /// The kinds of the versions that were asked for.
        var kinds: [APIResource] = []
        var inventory: InventoryStore.Reading?
    }

    private enum Question: Sendable {
        case identity
        case version
        case kinds(GroupVersion)
        case inventory(InventoryID)
    }

    private enum Answer: Sendable {
        case identity(Server)
        case note(String?)
        case kinds([APIResource])
        case inventory(InventoryStore.Reading)
    }

    /// Asks who the cluster is, which of the declared kinds it has, and what its inventory holds.
    func readServer() async throws(APIFailure) -> Server {
        let versions = Set(declared.map(\.groupVersion)).sorted { $0.description < $1.description }
        var questions: [Question] = [.identity, .version]
        if case .read(let id) = inventory { questions.append(.inventory(id)) }
        let answers = try await concurrently(questions + versions.map(Question.kinds), width: 8) { (question) throws(APIFailure) in
            switch question {
            case .identity: Answer.identity(try await identity())
            case .version: Answer.note(try await versionNote())
            case .kinds(let version): Answer.kinds(try await kinds(of: version))
            case .inventory(let id): Answer.inventory(try await InventoryStore.read(id, send: send))
            }
        }
        var server = Server(identity: "")
        var served: [APIResource] = []
        var notes: [String] = []
        var inventory: InventoryStore.Reading?
        for answer in answers {
            switch answer {
            case .identity(let found): server = found
            case .note(let note): notes += note.map { [$0] } ?? []
            case .kinds(let kinds): served += kinds
            case .inventory(let found): inventory = found
            }
        }
        server.notes += notes
        server.kinds = served
        server.inventory = inventory
        return server
    }

    /// The UID of namespace `kube-system`: every cluster has one, and it lives as long as the cluster.
    private func identity() async throws(APIFailure) -> Server {
        let namespaces = APIResource(groupVersion: GroupVersion("v1"), kind: "Namespace", plural: "namespaces", isNamespaced: false)
        let response = try await send(.get(namespaces, namespace: nil, name: "kube-system"))
        if let uid = response.body[path: "metadata", "uid"]?.stringValue, APIStatus(response) == nil { return Server(identity: uid) }
        // Everybody who is let in may ask where the server is. An address says less than a UID: another cluster could get it.
        let addresses = try await send(APIRequest(.get, "/api"))
        let list = addresses.body["serverAddressByClientCIDRs"]?.arrayValue ?? []
        let address = list.compactMap { $0["serverAddress"]?.stringValue }.first ?? "unknown"
        let why = APIStatus(response).map { RefusalWords($0, hidesText: false).right?.missing ?? "\($0)" } ?? "it has no UID"
        return Server(identity: "address \(address)", notes: ["\(cluster): is told by its address, as namespace kube-system can't be read: \(why)"])
    }

    private func versionNote() async throws(APIFailure) -> String? {
        let response = try await send(.version)
        guard APIStatus(response) == nil, let version = ServerVersion(response.body), (version.major, version.minor) < (1, 20) else { return nil }
        return "\(cluster): runs Kubernetes \(version); Plumb is made for 1.20 and newer"
    }

    func kinds(of groupVersion: GroupVersion) async throws(APIFailure) -> [APIResource] {
        let response = try await send(.discover(groupVersion))
        guard let status = APIStatus(response) else { return APIResource.discovered(in: response.body, groupVersion: groupVersion) }
        // No such group: what is of it is invalid, or comes with a definition among the specs.
        if status.code == 404 { return [] }
        if status.code == 403 {
            throw APIFailure(.credentials, "the server does not even tell which kinds it has: \(status.message)")
        }
        // 503: an aggregated API whose own server is away. That is no reason not to look at all else.
        if status.code == 503, groupVersion.group.contains(".") { return [] }
        throw APIFailure(.unreadable, "the server does not tell which kinds it has in \(groupVersion): \(status)")
    }

    /// Why a kind is not there, and what was meant perhaps.
    func missingKind(_ object: Declared) async throws(APIFailure) -> String {
        let version = object.groupVersion
        let what = "this server has no kind \(object.kind) in \(version)"
        let response = try await send(.discover(version))
        if APIStatus(response) == nil {
            let known = APIResource.discovered(in: response.body, groupVersion: version).map(\.kind)
            return what + (Diagnostic.nearest(to: object.kind, among: known).map { ". Did you mean \($0)?" } ?? "")
        }
        if APIStatus(response)?.code == 503 {
            return "the server of \(version) is away (503), so nothing can be said of its objects"
        }
        guard !version.group.isEmpty else { return what }
        let group = try await send(APIRequest(.get, "/apis/\(PercentEncoding.encodeSegment(version.group))"))
        let versions = (group.body["versions"]?.arrayValue ?? []).compactMap { $0["groupVersion"]?.stringValue }
        guard APIStatus(group) == nil, !versions.isEmpty else {
            return "\(what), nor the group \(version.group). Its CustomResourceDefinition is neither there nor among the specs"
        }
        return "\(what); of this group it has \(versions.joined(separator: ", "))"
    }
}
