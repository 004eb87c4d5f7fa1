import KubernetesAPI
import ResourceModel
import Values

extension KubernetesObject {
    /// One server-side apply, with what is let go of before it. `details` has what it takes; the differences say what it does.
    static func change(_ drift: ResourceDrift) -> Change {
        let details = drift.details
        guard let path = details["path"]?.stringValue, let words = details["words"]?.stringValue else { return Change(steps: []) }
        guard let body = details["body"] else { return pruning(drift, path: path, words: words) }
        let isNew = details["creates"] == true
        var steps: [Step] = []
        if let operations = details["release"]?.arrayValue {
            let request = APIRequest.jsonPatch(path, operations: operations, fieldManager: fieldManager)
            let fields = drift.differences.first { $0.path == Release.path }?.observed?.stringValue ?? ""
            steps.append(Step(.send(Step.Request(request)), summary: "give up \(fields) of \(words); the value stays as it is"))
        }
        if details["applies"] == true {
            let isForced = details["isForced"] == true
            let request = APIRequest.apply(path, body: body, fieldManager: fieldManager, isForced: isForced)
            let differences = drift.differences.filter { $0.path != Release.path }
            let how = "\(isForced ? ", forced" : "")\(isNew ? ", which creates it" : ": \(listed(differences))")"
            steps.append(
                Step(
                    .send(Step.Request(request)),
                    summary: "server-side apply \(words) as field manager \(fieldManager)\(how)",
                    inverse: isNew ? [] : inverse(differences, path: path, uid: body[path: "metadata", "uid"])
                )
            )
        }
        return Change(steps: steps, risk: risk(drift, isNew: isNew))
    }

    private static func listed(_ differences: [FieldDifference]) -> String {
        let shown = differences.prefix(6).map { difference in
            guard let desired = difference.desired else { return "\(difference.path) removed" }
            let text = Secrets.areIn(desired) ? SensitiveValue.placeholder : desired.description
            return "\(difference.path)=\(text.count > 60 ? "\(text.prefix(60))…" : text)"
        }
        return shown.joined(separator: ", ") + (differences.count > 6 ? " and \(differences.count - 6) more" : "")
    }

    /// A merge patch that puts the old values back; there is none for elements of lists, which it can't name.
    private static func inverse(_ differences: [FieldDifference], path: String, uid: Value?) -> [Step.Operation] {
        guard let uid else { return [] }
        var body: Value = ["metadata": ["uid": uid]]
        for difference in differences {
            guard let keys = memberNames(difference.path) else { return [] }
            set(difference.observed ?? .null, at: keys[...], in: &body)
        }
        return [.send(Step.Request(APIRequest.mergePatch(path, body: body, fieldManager: fieldManager)))]
    }

    private static func set(_ value: Value, at keys: ArraySlice<String>, in object: inout Value) {
        guard let first = keys.first else {
            object = value
            return
        }
        var inner = object[first] ?? [:]
        set(value, at: keys.dropFirst(), in: &inner)
        object[first] = inner
    }

    /// Takes `metadata.annotations["a/b"]` apart; nil where it leads into a list.
    private static func memberNames(_ path: String) -> [String]? {
        var names: [String] = []
        var rest = Substring(path)
        while let first = rest.first {
            if rest.hasPrefix("[\"") {
                guard let end = rest.ranges(of: "\"]").first else { return nil }
                names.append(String(rest[..<end.lowerBound].dropFirst(2)))
                rest = rest[end.upperBound...]
            } else if first == "[" {
                return nil
            } else {
                rest = first == "." ? rest.dropFirst() : rest
                let name = rest.prefix { $0 != "." && $0 != "[" }
                names.append(String(name))
                rest = rest[name.endIndex...]
            }
        }
        return names
    }

    /// What a change does beyond the object itself: pods that are started anew, an address that clients use.
    private static func risk(_ drift: ResourceDrift, isNew: Bool) -> Risk {
        guard !isNew else { return .none }
        let paths = drift.differences.map(\.path)
        switch drift.kind {
        case "Deployment", "StatefulSet", "DaemonSet", "ReplicaSet":
            let shrinks = drift.differences.contains { difference in
                guard difference.path == "spec.replicas", let before = difference.observed?.intValue else { return false }
                return (difference.desired?.intValue ?? 1) < before
            }
            return shrinks || paths.contains { $0.hasPrefix("spec.template") } ? .disruptive : .none
        case "Pod": return .disruptive
        case "Service":
            let losesAddress = drift.differences.contains { $0.path == "spec.type" && $0.observed == "LoadBalancer" }
            return losesAddress || paths.contains { $0.hasPrefix("spec.selector") || $0.hasPrefix("spec.ports") } ? .disruptive : .none
        case "NetworkPolicy", "Ingress", "CustomResourceDefinition": return .disruptive
        default: return .none
        }
    }
}

extension Step.Request {
    init(_ request: APIRequest) {
        self.init(method: request.method.rawValue, path: request.target, contentType: request.contentType, body: request.body)
    }
}

extension APIRequest {
    init?(_ request: Step.Request) {
        guard let method = Method(rawValue: request.method) else { return nil }
        self.init(method, target: request.path, contentType: request.contentType)
        body = request.body
    }
}
