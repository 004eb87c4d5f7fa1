import Foundation
import Testing
import Values

extension LabTests {
    /// `plumb rbac`, believed by a real API server: with these rights everything works, with one less the one that is missing is named.
    @Suite struct RBACTests {
        private static let user = "system:serviceaccount:rights-plumb:plumb"
        private static let api = "/apis/rbac.authorization.k8s.io/v1"

        private static func map(_ name: String, namespace: String = "default", _ annotations: String = "{}", value: String = "b") -> String {
            "---\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: \(name), namespace: \(namespace), annotations: \(annotations)}\n"
                + "data: {a: \(value)}\n"
        }

        private static let cluster = "apiVersion: plumb/v1\nkind: Cluster\nmetadata: {name: home}\nspec: {context: home, inventory: rights}\n"

        private static let made =
            map("rights-made") + "---\napiVersion: scheduling.k8s.io/v1\nkind: PriorityClass\nmetadata: {name: rights-class}\nvalue: 5\n"
                + """
                ---
                apiVersion: rbac.authorization.k8s.io/v1
                kind: Role
                metadata: {name: rights-role, namespace: default}
                rules: [{apiGroups: [batch], resources: [jobs], verbs: [get]}]
                ---
                apiVersion: rbac.authorization.k8s.io/v1
                kind: RoleBinding
                metadata: {name: rights-binding, namespace: default}
                roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: "system:kube-scheduler"}
                subjects: [{apiGroup: rbac.authorization.k8s.io, kind: User, name: somebody}]

                """ + ["one", "two", "three"].map { map($0, namespace: "rights-many") }.joined()

        private static let others =
            map("rights-kept", "{plumb/prune: keep}") + map("theirs", namespace: "rights-many", "{plumb/manage: fields}")
            + "---\napiVersion: v1\nkind: Namespace\nmetadata: {name: rights-many, labels: {rights: \"yes\"}}\n"

        @Test func exactlyTheseRightsAreEnoughAndEachIsNeeded() async throws {
            let lab = try Lab()
            try await lab.withSpecs(["cluster.yaml": Self.cluster, "made.yaml": Self.made, "others.yaml": Self.others]) { source in
                try await withRights(lab, source) { rights in
                    // All of it: made, kept, pruned.
                    try await rights.works("plan")
                    try await rights.works("apply", "--yes")
                    let again = try await rights.plumb("apply", "--yes")
                    #expect(again.status == 0 && again.output.contains("as declared"), "\(again.output) \(again.errorOutput)")
                    try await rights.prune()
                    #expect(try await lab.request("GET", "/api/v1/namespaces/default/configmaps/rights-made")["code"] == 404)
                    #expect(try await lab.request("GET", "/api/v1/namespaces/kube-system/configmaps/plumb-inventory-rights")["code"] == 404)
                    #expect(try await lab.request("GET", "/api/v1/namespaces/default/configmaps/rights-kept")[path: "data", "a"] == "b")
                    try await rights.putBack()
                    try await rights.works("apply", "--yes")

                    let all = rights.roles.flatMap { role in role.rights.filter { isForRun($0, role) }.map { ($0, role) } }
                    let answers = try await withThrowingTaskGroup(of: String.self) { group in
                        for (right, role) in all { group.addTask { try await rights.answer(to: right, role) } }
                        return try await group.reduce(into: []) { $0.append($1) }
                    }
                    #expect(answers.count > 10 && !answers.contains("403"), "\(answers)")

                    var count = 0
                    for role in rights.roles {
                        for right in role.rights {
                            try await rights.without(right, of: role) { try await check(right, in: role, rights) }
                            count += 1
                        }
                    }
                    print("\(count) rights, each needed and each named where it is missing")
                    // Put back one by one, they are enough again.
                    if let role = rights.roles.last, let right = role.rights.last { try await rights.waits(right, role, until: true) }
                    try await rights.works("apply", "--yes")
                }
            }
        }

        /// What follows and elects uses these; plan and apply don't.
        private func isForRun(_ right: Right, _ role: Role) -> Bool {
            role.namespace == "rights-plumb" || right.verb == "watch" || right.verb == "list" && role.namespace != "kube-system"
        }

        /// What is said where one right is missing, in the command that is the first to need it.
        private func check(_ right: Right, in role: Role, _ rights: Rights) async throws {
            let place = role.namespace.map { "in namespace \($0)" } ?? "in the whole cluster"
            let resource = right.group.isEmpty ? right.resource : "\(right.resource).\(right.group)"
            let expected = "user \(Self.user) may not \(right.verb) \(resource) \(place)"
            func expect(_ outcome: Outcome, says text: String) {
                let said = outcome.output + outcome.errorOutput
                #expect(said.contains(text), "without \(right) in \(role.path): \(said)")
            }
            switch right.verb {
            case _ where isForRun(right, role): #expect(try await rights.answer(to: right, role) == "403", "without \(right) in \(role.path)")
            case "get" where right.group == "coordination.k8s.io", "update":
                try await rights.makeLease()
                try await rights.disturb("priorityclasses")
                expect(try await rights.plumb("apply", "--yes"), says: "may not \(right.verb) \(resource) in namespace kube-system")
            case "create" where role.namespace == "kube-system":
                try await rights.disturb("priorityclasses")
                let path =
                    right.resource == "leases"
                    ? "/apis/coordination.k8s.io/v1/namespaces/kube-system/leases/plumb-apply"
                    : "/api/v1/namespaces/kube-system/configmaps/plumb-inventory-rights"
                try await rights.lab.request("DELETE", path)
                expect(try await rights.plumb("apply", "--yes"), says: "may not create \(resource) in namespace kube-system")
            case "create":
                try await rights.disturb(right.resource, in: role.namespace)
                // Servers before some version don't say who, nor where.
                expect(try await rights.plumb("plan"), says: "may not create \(resource)")
            case _ where right.name != nil:
                // Nothing at all of that one, then.
                try await rights.disturb(right.resource, in: role.namespace)
                expect(try await rights.plumb("plan"), says: "user \(Self.user) may not patch \(resource) \(place)")
            case "get" where role.namespace == "rights-many":
                // What is listed is asked for one by one where it is waited for.
                try await rights.disturb(right.resource, in: role.namespace)
                expect(try await rights.plumb("apply", "--yes", "--wait", "1s"), says: expected)
            case "delete":
                try await rights.works("apply", "--yes", allowed: [0, 1])
                expect(try await rights.prune(expects: nil), says: expected)
            case "escalate", "bind":
                try await rights.disturb(right.verb == "bind" ? "rolebindings" : right.resource, in: role.namespace)
                expect(try await rights.plumb("plan"), says: "attempting to grant RBAC permissions not currently held")
            default:
                try await rights.disturb(right.resource, in: role.namespace)
                expect(try await rights.plumb("plan"), says: right.resource == "namespaces" ? "may not \(right.verb) namespaces" : expected)
            }
        }

        // MARK: The cluster's side

        struct Right: Hashable, CustomStringConvertible {
            var index: Int
            var verb: String
            var group: String
            var resource: String
            var name: String?
            var description: String { "\(verb) \(resource) \(name ?? "")" }
        }

        struct Role {
            var path: String
            var namespace: String?
            var object: Value
            var rights: [Right]
        }

        struct Rights {
            let lab: Lab
            let source: String
            let data: String
            let kubeconfig: String
            let token: String
            var roles: [Role] = []

            func plumb(_ arguments: String...) async throws -> Outcome {
                try await lab.plumb([arguments[0], source] + arguments.dropFirst(), data: data, environment: ["KUBECONFIG": kubeconfig])
            }

            func works(_ command: String, _ arguments: String..., allowed: Set<Int32> = [0]) async throws {
                let outcome = try await lab.plumb([command, source] + arguments, data: data, environment: ["KUBECONFIG": kubeconfig])
                let said = outcome.output + outcome.errorOutput
                #expect(allowed.contains(outcome.status), "\(command): \(said)")
                if allowed == [0] { #expect(!said.contains("may not") && !said.contains("not confirmed"), "\(command): \(said)") }
            }

            private var files: [String] { ["made.yaml", "others.yaml"] }

            /// Nothing is declared for a moment.
            @discardableResult
            func prune(expects status: Int32? = 0) async throws -> Outcome {
                for file in files { try FileManager.default.moveItem(atPath: "\(source)/\(file)", toPath: "\(source)/\(file).off") }
                let outcome = try await plumb("apply", "--yes", "--max-deletes", "50")
                for file in files { try FileManager.default.moveItem(atPath: "\(source)/\(file).off", toPath: "\(source)/\(file)") }
                if let status { #expect(outcome.status == status, "\(outcome.output) \(outcome.errorOutput)") }
                return outcome
            }

            /// What has to be there already is there.
            func putBack() async throws {
                try await lab.request(
                    "POST",
                    "/api/v1/namespaces/rights-many/configmaps",
                    #"{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"theirs"},"data":{"a":"old"}}"#
                )
            }

            /// The lock, as it is left by whoever had it last.
            func makeLease() async throws {
                let lease = """
                    {"apiVersion":"coordination.k8s.io/v1","kind":"Lease","metadata":{"name":"plumb-apply"},
                    "spec":{"holderIdentity":"","leaseDurationSeconds":1}}
                    """
                try await lab.request("POST", "/apis/coordination.k8s.io/v1/namespaces/kube-system/leases", lease)
            }

            /// What the specs declare is taken away or changed, so that there is something to do: all of it, or of one kind in one namespace.
            func disturb(_ resource: String? = nil, in namespace: String? = nil) async throws {
                let maps = [("default", "rights-made"), ("default", "rights-kept")] + ["one", "two", "three"].map { ("rights-many", $0) }
                var objects = maps.map { (resource: "configmaps", namespace: $0.0, path: "/api/v1/namespaces/\($0.0)/configmaps/\($0.1)") }
                objects.append(("priorityclasses", "", "/apis/scheduling.k8s.io/v1/priorityclasses/rights-class"))
                for (plural, name) in [("roles", "rights-role"), ("rolebindings", "rights-binding")] {
                    objects.append((plural, "default", "\(api)/namespaces/default/\(plural)/\(name)"))
                }
                for object in objects where resource == nil || object.resource == resource && object.namespace == namespace ?? "" {
                    try await lab.request("DELETE", object.path)
                }
                let merge = "application/merge-patch+json"
                if resource == nil || resource == "configmaps" && namespace == "rights-many" {
                    try await lab.request("PATCH", "/api/v1/namespaces/rights-many/configmaps/theirs", #"{"data":{"a":"c"}}"#, type: merge)
                }
                if resource == nil || resource == "namespaces" {
                    try await lab.request("PATCH", "/api/v1/namespaces/rights-many", #"{"metadata":{"labels":{"rights":"no"}}}"#, type: merge)
                }
            }

            /// Takes one right away, waits until the server knows, and gives it back.
            func without(_ right: Right, of role: Role, _ body: () async throws -> Void) async throws {
                guard var rules = role.object["rules"]?.arrayValue else { return }
                var rule = rules[right.index]
                if let name = right.name {
                    rule["resourceNames"] = .array((rule["resourceNames"]?.arrayValue ?? []).filter { $0 != .string(name) })
                } else {
                    rule["verbs"] = .array((rule["verbs"]?.arrayValue ?? []).filter { $0 != .string(right.verb) })
                }
                rules[right.index] = rule
                // A rule without names would be for all of them; one without verbs is none.
                if rule["verbs"] == [] || right.name != nil && rule["resourceNames"] == [] { rules.remove(at: right.index) }
                var changed = role.object
                changed["rules"] = .array(rules)
                try await lab.request("PUT", role.path, changed.canonicalJSON)
                try await waits(right, role, until: false)
                try await body()
                // The server learns of changes one after the other: where it knows the next one it knows this one.
                try await lab.request("PUT", role.path, role.object.canonicalJSON)
            }

            func waits(_ right: Right, _ role: Role, until isAllowed: Bool) async throws {
                for _ in 0..<400 {
                    if try await isLetIn(right, role) == isAllowed { return }
                    try await Task.sleep(for: .milliseconds(10))
                }
                Issue.record("\(right) in \(role.path) is \(isAllowed ? "not " : "")allowed after 4 s")
            }

            /// The HTTP status of a request that takes just this right.
            func answer(to right: Right, _ role: Role) async throws -> String {
                let names = role.object["rules"]?.arrayValue?[right.index]["resourceNames"]?.arrayValue?.compactMap(\.stringValue) ?? []
                let name = right.name ?? names.first
                let place = role.namespace.map { "/namespaces/\($0)" } ?? ""
                let all = "\(right.group.isEmpty ? "/api/v1" : "/apis/\(right.group)/v1")\(place)/\(right.resource)"
                let one = "\(all)/\(name ?? "")"
                let selected = "\(all)?limit=1\(name.map { "&fieldSelector=metadata.name%3D\($0)" } ?? "")"
                let (method, path) =
                    switch right.verb {
                    case "list": ("GET", selected)
                    case "watch": ("GET", "\(selected)&watch=1&timeoutSeconds=1")
                    case "create": ("POST", "\(all)?dryRun=All")
                    case "update": ("PUT", one)
                    default: ("GET", one)
                    }
                var command = ["curl", "--silent", "--max-time", "10", "--cacert", "\(lab.folder)/api-server/ca.pem", "--request", method]
                command += ["--header", "Authorization: Bearer \(token)", "--header", "Content-Type: application/json"]
                if method != "GET" { command += ["--data", "{}"] }
                let outcome = try await run(command + ["--write-out", "\n%{http_code}", "https://127.0.0.1:6443\(path)"])
                return outcome.output.split(separator: "\n").last.map(String.init) ?? ""
            }

            /// What the server itself says.
            func isLetIn(_ right: Right, _ role: Role) async throws -> Bool {
                let names = role.object["rules"]?.arrayValue?[right.index]["resourceNames"]?.arrayValue ?? []
                let name = right.name ?? names.first?.stringValue ?? ""
                var attributes: Value = [
                    "verb": .string(right.verb), "group": .string(right.group), "resource": .string(right.resource), "name": .string(name),
                ]
                if let namespace = role.namespace { attributes["namespace"] = .string(namespace) }
                let review: Value = [
                    "apiVersion": "authorization.k8s.io/v1", "kind": "SubjectAccessReview",
                    "spec": [
                        "user": .string(user), "groups": ["system:serviceaccounts", "system:authenticated"], "resourceAttributes": attributes,
                    ],
                ]
                let answer = try await lab.request("POST", "/apis/authorization.k8s.io/v1/subjectaccessreviews", review.canonicalJSON)
                return answer[path: "status", "allowed"] == true
            }
        }

        private func withRights(_ lab: Lab, _ source: String, _ body: (Rights) async throws -> Void) async throws {
            let printed = try await lab.plumb(["rbac", source, "--namespace", "rights-plumb"], rights: true)
            try #require(printed.status == 0, "\(printed.errorOutput)")
            try await lab.applyManifests(printed.output)
            let account = "/api/v1/namespaces/rights-plumb/serviceaccounts/plumb/token"
            let request = #"{"apiVersion":"authentication.k8s.io/v1","kind":"TokenRequest","spec":{"audiences":["https://kubernetes.default.svc"]}}"#
            let token = try #require(try await lab.request("POST", account, request)[path: "status", "token"]?.stringValue)
            let kubeconfig = "\(lab.folder)/rights-kubeconfig"
            let text = """
                apiVersion: v1
                kind: Config
                current-context: home
                clusters: [{name: home, cluster: {server: "https://127.0.0.1:6443", certificate-authority: \(lab.folder)/api-server/ca.pem}}]
                users: [{name: rights, user: {token: \(token)}}]
                contexts: [{name: home, context: {cluster: home, user: rights}}]

                """
            try Data(text.utf8).write(to: URL(fileURLWithPath: kubeconfig))

            var rights = Rights(lab: lab, source: source, data: "\(lab.folder)/data/rights", kubeconfig: kubeconfig, token: token)
            rights.roles = try await roles(lab)
            try await rights.putBack()
            try await body(rights)
            try await lab.deleteManifests(printed.output)
            try await rights.disturb()
            try await lab.request("DELETE", "/api/v1/namespaces/rights-many/configmaps/theirs")
            try await lab.request("DELETE", "/api/v1/namespaces/kube-system/configmaps/plumb-inventory-rights")
        }

        private func roles(_ lab: Lab) async throws -> [Role] {
            var roles: [Role] = []
            for (plural, isNamespaced) in [("clusterroles", false), ("roles", true)] {
                for item in try await lab.request("GET", "\(Self.api)/\(plural)")["items"]?.arrayValue ?? []
                where item[path: "metadata", "name"] == "plumb:rights-plumb:plumb" {
                    let namespace = item[path: "metadata", "namespace"]?.stringValue
                    let place = isNamespaced ? "\(Self.api)/namespaces/\(namespace ?? "")/\(plural)" : "\(Self.api)/\(plural)"
                    var object = item
                    object["apiVersion"] = "rbac.authorization.k8s.io/v1"
                    object["kind"] = isNamespaced ? "Role" : "ClusterRole"
                    object["metadata"] = ["name": "plumb:rights-plumb:plumb"]
                    var rights: [Right] = []
                    for (index, rule) in (item["rules"]?.arrayValue ?? []).enumerated() {
                        let group = rule["apiGroups"]?.arrayValue?.first?.stringValue ?? ""
                        let resource = rule["resources"]?.arrayValue?.first?.stringValue ?? ""
                        for verb in rule["verbs"]?.arrayValue ?? [] {
                            rights.append(Right(index: index, verb: verb.stringValue ?? "", group: group, resource: resource))
                        }
                        // A name less, where its rights are asked for by name.
                        let names = rule["resourceNames"]?.arrayValue ?? []
                        guard names.count > 1, rule["verbs"]?.arrayValue?.first == "get" else { continue }
                        for name in names {
                            rights.append(Right(index: index, verb: "get", group: group, resource: resource, name: name.stringValue))
                        }
                    }
                    roles.append(Role(path: "\(place)/plumb:rights-plumb:plumb", namespace: namespace, object: object, rights: rights))
                }
            }
            return roles
        }
    }
}

extension Lab {
    /// Without the options of commands that connect.
    func plumb(_ arguments: [String], rights: Bool) async throws -> Outcome { try await run([CommandTests.plumb] + arguments) }
}
