import KubernetesAPI
import ResourceModel
import Values

/// Whether an object does what it is there for. Applied and ready are two things: a Deployment is as declared long before its pods run.
enum Readiness: Hashable, Sendable {
    case ready
    /// It can still come; says what is missing, with numbers.
    case waiting(String)
    /// It won't come by waiting.
    case failed(String)

    /// What an object's status says, as its kind has it. A kind without a rule is ready once it is there, unless it says otherwise itself.
    init(of object: Value) {
        if object[path: "metadata", "deletionTimestamp"] != nil {
            self = .waiting("it is being deleted")
            return
        }
        // A status that is about an older object says nothing about this one.
        if let generation = object[path: "metadata", "generation"]?.intValue, let seen = object[path: "status", "observedGeneration"]?.intValue,
            seen < generation
        {
            self = .waiting("its controller has not seen the change yet")
            return
        }
        let group = GroupVersion(object["apiVersion"]?.stringValue ?? "").group
        let kind = object["kind"]?.stringValue ?? ""
        self = Self.rules["\(group)/\(kind)"]?(object) ?? Self.general(object)
    }

    private static let rules: [String: @Sendable (Value) -> Readiness] = [
        "apps/Deployment": deployment,
        "apps/StatefulSet": statefulSet,
        "apps/DaemonSet": daemonSet,
        "apps/ReplicaSet": replicaSet,
        "batch/Job": job,
        "/Pod": pod,
        "/PersistentVolumeClaim": claim,
        "/Service": service,
        "/Namespace": namespace,
        "apiextensions.k8s.io/CustomResourceDefinition": definition,
        "apiregistration.k8s.io/APIService": apiService,
    ]

    /// What kinds of operators have in common: conditions `Ready`, and `Stalled` where nothing more will happen.
    private static func general(_ object: Value) -> Readiness {
        if let stalled = object.condition("Stalled"), stalled.isTrue { return .failed(stalled.words) }
        guard let ready = object.condition("Ready") else { return .ready }
        return ready.isTrue ? .ready : .waiting(ready.words)
    }

    /// Asks until an object is ready, in ever longer intervals.
    ///
    /// - Returns: nil: it is ready; else what it still waits for when the time was up, or why waiting is of no use.
    static func wait(
        for address: ResourceAddress,
        within limit: Duration,
        isInterrupted: @Sendable () -> Bool,
        send: @escaping APISender
    ) async -> String? {
        guard let place = ObjectAddress(address.resource) else { return nil }
        let end = ContinuousClock.now + limit
        var pause = Duration.milliseconds(50)
        while true {
            switch await ask(place, send) {
            case .ready: return nil
            case .failed(let why): return why
            case .waiting(let what):
                guard ContinuousClock.now + pause < end, !Task.isCancelled else { return what }
                if isInterrupted() { return "\(what); interrupted before it was" }
            }
            try? await Task.sleep(for: pause)
            pause = min(pause * 2, .seconds(2))
        }
    }

    private static func ask(_ place: ObjectAddress, _ send: APISender) async -> Readiness {
        do throws(APIFailure) {
            let document = try await send(.discover(place.groupVersion))
            if let status = APIStatus(document) { return .waiting("its kind is not served: \(status)") }
            let kinds = APIResource.discovered(in: document.body, groupVersion: place.groupVersion)
            guard let api = kinds.first(where: { $0.kind == place.kind }) else { return .waiting("its kind is not served yet") }
            let response = try await send(.get(api, namespace: place.namespace, name: place.name))
            if let status = APIStatus(response) {
                let message = Refusal(status, hidesText: false).message
                return status.code == 403 ? .failed(message) : .waiting(status.code == 404 ? "it is not there" : message)
            }
            let readiness = Readiness(of: response.body)
            guard readiness == .ready, api.kind == "CustomResourceDefinition" else { return readiness }
            return try await served(by: response.body, send)
        } catch {
            return error.cause == .unreachable || error.cause == .timedOut ? .waiting(error.message) : .failed(error.message)
        }
    }

    /// A definition is established a moment before its kind can be found, and what depends on it looks for that.
    private static func served(by definition: Value, _ send: APISender) async throws(APIFailure) -> Readiness {
        let group = definition[path: "spec", "group"]?.stringValue ?? ""
        for version in definition[path: "spec", "versions"]?.arrayValue ?? [] where version["served"] == true {
            let groupVersion = GroupVersion(group: group, version: version["name"]?.stringValue ?? "")
            let document = try await send(.discover(groupVersion))
            let kinds = APIResource.discovered(in: document.body, groupVersion: groupVersion)
            guard kinds.contains(where: { $0.kind == definition[path: "spec", "names", "kind"]?.stringValue }) else {
                return .waiting("\(groupVersion) is not served yet")
            }
        }
        return .ready
    }
}

/// `apps/v1/Deployment/ns/x`, taken apart.
struct ObjectAddress: Hashable, Sendable {
    var groupVersion: GroupVersion
    var kind: String
    var namespace: String?
    var name: String

    init?(_ resource: String) {
        var parts = resource.split(separator: "/").map(String.init)
        // Kinds begin with a capital letter and versions with a small one, so that `apps/v1/Deployment/x` is not of group `apps` by luck.
        let length = parts.count > 1 && parts[1].first?.isUppercase == true ? 1 : 2
        guard parts.count > length + 1 else { return nil }
        groupVersion = GroupVersion(parts[..<length].joined(separator: "/"))
        parts.removeFirst(length)
        kind = parts.removeFirst()
        guard let last = parts.popLast(), parts.count <= 1 else { return nil }
        name = last
        namespace = parts.first
    }
}

/// One entry of `status.conditions`.
struct Condition {
    var isTrue: Bool
    var reason: String
    var message: String

    /// What it says, at a length that fits in a message.
    var words: String {
        let text = message.isEmpty ? reason : message
        let line = text.split(whereSeparator: \.isNewline).joined(separator: " ")
        if line.isEmpty { return "it does not say why" }
        return line.count > 300 ? "\(line.prefix(300))…" : line
    }
}

extension Value {
    func condition(_ type: String) -> Condition? {
        let entries = self[path: "status", "conditions"]?.arrayValue ?? []
        guard let entry = entries.first(where: { $0["type"]?.stringValue == type }) else { return nil }
        return Condition(
            isTrue: entry["status"] == "True",
            reason: entry["reason"]?.stringValue ?? "",
            message: entry["message"]?.stringValue ?? ""
        )
    }

    /// A number of the status; servers leave zeros out.
    func count(_ field: String) -> Int64 { self[path: "status", field]?.intValue ?? 0 }
}
