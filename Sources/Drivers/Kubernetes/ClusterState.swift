package import KubernetesAPI
import Values

/// What the replicas of a controller have to know of each other: pauses, fights, the last good revision. One ConfigMap, a text for each key.
///
/// - Guarantees: `update` is made to what is there, never to what was there: of two at the same time the second one sees what the first one wrote.
/// - Errors: `ClusterState.Failure`, which says what to do. After a lost answer nobody knows whether an update was made; it can be made again.
package struct ClusterState: Sendable {
    package static let defaultName = "plumb-controller"
    /// Of all keys and texts together, in bytes. The server takes 1 MiB for the whole object.
    package static let largest = 900 * 1024
    private static let mostConflicts = 20

    package let namespace: String
    package let name: String
    private let send: APISender

    package init(namespace: String, name: String = Self.defaultName, send: @escaping APISender) {
        self.namespace = namespace
        self.name = name
        self.send = send
    }

    package struct Failure: Error, Hashable, Sendable {
        package enum Cause: Hashable, Sendable {
            /// No answer; what was to be written may have been.
            case unreachable
            case denied
            /// Nothing was written.
            case tooLarge
            /// The server says no for another reason.
            case refused
        }

        package var cause: Cause
        package var message: String
    }

    /// All keys; empty where there is no such ConfigMap yet.
    package func read() async throws(Failure) -> [String: String] { Self.texts(try await object() ?? [:]) }

    /// Writes the text of one key; nil removes it. Where nothing changes nothing is sent.
    ///
    /// - Parameter mutate: Called again, with what is there then, where somebody else was first.
    /// - Returns: What is there now.
    @discardableResult
    package func update(_ key: String, _ mutate: @Sendable (String?) -> String?) async throws(Failure) -> String? {
        precondition(Self.isKey(key), "a key of a ConfigMap is made of letters, digits, '-', '_' and '.'")
        for round in 0..<Self.mostConflicts {
            if round > 0 { try? await Task.sleep(for: .milliseconds(Int.random(in: 5...(20 << min(round, 5))))) }
            let found = try await object()
            var texts = Self.texts(found ?? [:])
            let wanted = mutate(texts[key])
            guard wanted != texts[key] else { return wanted }
            texts[key] = wanted
            let size = texts.reduce(0) { $0 + $1.key.utf8.count + $1.value.utf8.count }
            guard size <= Self.largest else {
                throw Failure(
                    cause: .tooLarge,
                    message: "ConfigMap \(namespace)/\(name) would hold \(size >> 10) KiB with '\(key)', and \(Self.largest >> 10) KiB is the most; "
                        + "nothing was written"
                )
            }
            let response = try await ask(request(found, texts))
            guard let status = APIStatus(response) else { return wanted }
            let isGone = status.code == 404 && status.kind != "namespaces" && !status.isUnknownPath
            guard status.code == 409 || isGone else { throw refusal(status, found == nil ? "create" : "update") }
        }
        throw Failure(cause: .refused, message: "ConfigMap \(namespace)/\(name) is changed by others all the time; '\(key)' was not written")
    }

    private func object() async throws(Failure) -> Value? {
        let response = try await ask(.get(Self.configMaps, namespace: namespace, name: name))
        guard let status = APIStatus(response) else { return response.body }
        if status.code == 404, !status.isUnknownPath { return nil }
        throw refusal(status, "get")
    }

    private func request(_ found: Value?, _ texts: [String: String]) -> APIRequest {
        let data = Value.object(texts.mapValues { .string($0) })
        guard var object = found else {
            let labels: Value = ["app.kubernetes.io/managed-by": "plumb", "app.kubernetes.io/component": "controller"]
            let metadata: Value = ["name": .string(name), "namespace": .string(namespace), "labels": labels]
            let body: Value = ["apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": data]
            return .create(Self.configMaps, namespace: namespace, body: body, fieldManager: Self.fieldManager)
        }
        object["data"] = data
        object["metadata"]?["managedFields"] = nil
        return .replace(Self.configMaps.path(namespace: namespace, name: name), body: object, fieldManager: Self.fieldManager)
    }

    private func ask(_ request: APIRequest) async throws(Failure) -> APIResponse {
        do throws(APIFailure) { return try await send(request) } catch {
            let isDenied = error.cause == .credentials || error.cause == .untrusted
            throw Failure(cause: isDenied ? .denied : .unreachable, message: "ConfigMap \(namespace)/\(name): \(error.message)")
        }
    }

    private func refusal(_ status: APIStatus, _ verb: String) -> Failure {
        if status.isMissingRight {
            let user = status.user.map { "user \($0)" } ?? "this user"
            return Failure(
                cause: .denied,
                message: "\(user) may not \(verb) configmaps in namespace \(namespace) (\(name)); 'plumb rbac' prints the rights that are needed"
            )
        }
        if status.kind == "namespaces", status.code == 404 {
            return Failure(cause: .refused, message: "there is no namespace \(namespace) for ConfigMap \(name): make it, or name another one")
        }
        return Failure(cause: .refused, message: "ConfigMap \(namespace)/\(name): \(status)")
    }

    private static func texts(_ object: Value) -> [String: String] { (object["data"]?.objectValue ?? [:]).compactMapValues(\.stringValue) }

    private static func isKey(_ key: String) -> Bool {
        (1...253).contains(key.utf8.count)
            && key.utf8.allSatisfy { byte in
                switch byte {
                case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"), UInt8(ascii: "0")...UInt8(ascii: "9"): true
                default: "-_.".utf8.contains(byte)
                }
            }
    }

    private static let configMaps = APIResource(groupVersion: GroupVersion("v1"), kind: "ConfigMap", plural: "configmaps", isNamespaced: true)
    private static let fieldManager = "plumb"
}
