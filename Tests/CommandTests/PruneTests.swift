import Foundation
import Testing
import Values

extension LabTests {
    /// Objects that left the specs, at a real API server. Each test has names of its own.
    @Suite struct PruneTests {
        private let id = "p" + String(UInt32.random(in: 0...UInt32.max), radix: 36)

        /// A folder of specs whose files come and go.
        private struct Specs {
            var lab: Lab
            var folder: String

            func put(_ name: String, _ text: String) throws { try Data(text.utf8).write(to: URL(fileURLWithPath: "\(folder)/\(name).yaml")) }

            func take(_ name: String) throws { try FileManager.default.removeItem(atPath: "\(folder)/\(name).yaml") }

            func plan(_ arguments: String...) async throws -> Value {
                try await lab.plumb(["plan", folder, "--output", "json"] + arguments, data: "\(folder)/.data").document
            }

            /// Applies without a question, and expects this exit status.
            @discardableResult
            func apply(_ arguments: String..., status: Int32 = 0, _ place: SourceLocation = #_sourceLocation) async throws -> Outcome {
                let outcome = try await lab.plumb(["apply", folder, "--yes"] + arguments, data: "\(folder)/.data")
                #expect(outcome.status == status, "\(outcome.output) \(outcome.errorOutput)", sourceLocation: place)
                return outcome
            }
        }

        private func withSpecs(cluster: String = "context: home", _ body: (Lab, Specs) async throws -> Void) async throws {
            let lab = try Lab()
            let text = "apiVersion: plumb/v1\nkind: Cluster\nmetadata: {name: home}\nspec: {\(cluster)}\n"
            try await lab.withSpecs(["cluster.yaml": text]) { folder in try await body(lab, Specs(lab: lab, folder: folder)) }
        }

        private func map(_ name: String, annotations: String = "{}", data: String = "k: v") -> String {
            "{apiVersion: v1, kind: ConfigMap, metadata: {name: \(id)-\(name), annotations: \(annotations)}, data: {\(data)}}\n"
        }

        private func address(_ name: String) -> String { "home/v1/ConfigMap/default/\(id)-\(name)" }

        private func path(_ name: String) -> String { "/api/v1/namespaces/default/configmaps/\(id)-\(name)" }

        private func isThere(_ lab: Lab, _ path: String) async throws -> Bool {
            try await lab.request("GET", path)[path: "metadata", "uid"] != nil
        }

        /// Which of these ConfigMaps there are.
        private func left(_ lab: Lab, of names: String...) async throws -> [String] {
            var found: [String] = []
            for name in names where try await isThere(lab, path(name)) { found.append(name) }
            return found
        }

        private func managers(_ object: Value) -> [String] {
            (object[path: "metadata", "managedFields"]?.arrayValue ?? []).compactMap { $0["manager"]?.stringValue }
        }

        @Test func whatPlumbMadeIsDeletedWhenItIsNoLongerDeclared() async throws {
            try await withSpecs { lab, specs in
                for name in ["a", "b", "c"] { try specs.put(name, map(name)) }
                try await specs.apply()
                try specs.take("b")
                let plan = try await specs.plan()
                #expect(plan.changes == ["\(address("b")) delete"])
                let reason = plan["changes"]?.arrayValue?.first?["reason"]?.stringValue ?? ""
                #expect(reason.hasPrefix("no longer declared; Plumb created it at 20"))
                let markdown = try await lab.plumb(["plan", specs.folder, "--output", "markdown"])
                #expect(markdown.output.contains("no longer declared; Plumb created it at 20"), "\(markdown.output)")
                #expect(try await isThere(lab, path("b")))

                #expect(try await specs.plan("--target", address("a")).changes == [])
                try await specs.apply("--target", address("a"))
                #expect(try await isThere(lab, path("b")))

                try await specs.apply()
                #expect(try await !isThere(lab, path("b")))
                #expect(try await left(lab, of: "a", "c") == ["a", "c"])
                let after = try await specs.plan("--detailed-exitcode")
                #expect(after.changes == [] && after["unchanged"]?.arrayValue?.count == 2)

                // Nothing declared at all: the cluster is looked at all the same.
                for name in ["a", "c"] { try specs.take(name) }
                #expect(try await specs.plan().changes == [address("a"), address("c")].map { "\($0) delete" })
                try await specs.apply()
                #expect(try await left(lab, of: "a", "c") == [])
            }
        }

        @Test func whatSomebodyElseMadeIsLeftAlone() async throws {
            try await withSpecs { lab, specs in
                // Theirs from the start, changed by us; and ours, made anew by them.
                try await lab.request("POST", "/api/v1/namespaces/default/configmaps", theirs("theirs", "{\"k\":\"old\"}"))
                for name in ["theirs", "anew", "ours"] { try specs.put(name, map(name)) }
                try await specs.apply()
                try await lab.request("DELETE", path("anew"))
                try await lab.request("POST", "/api/v1/namespaces/default/configmaps", theirs("anew", "{\"k\":\"v\"}"))
                for name in ["theirs", "anew"] { try specs.take(name) }
                let plan = try await specs.plan()
                #expect(plan.changes == ["\(address("theirs")) update"])
                #expect(plan["changes"]?.arrayValue?.first?["reason"]?.stringValue?.contains("Plumb did not make it, so it is given up") == true)
                try await specs.apply()
                let left = try await lab.request("GET", path("theirs"))
                #expect(left[path: "data", "k"] == "v" && !managers(left).contains("plumb"))
                #expect(try await lab.request("GET", path("anew"))[path: "data", "k"] == "v")
                let after = try await specs.plan()
                #expect(after.changes == [] && after["notes"] == [])
            }
        }

        private func theirs(_ name: String, _ data: String) -> String {
            #"{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"\#(id)-\#(name)"},"data":\#(data)}"#
        }

        @Test func keepIsRememberedEvenWhereNothingElseChanged() async throws {
            try await withSpecs { lab, specs in
                for name in ["now", "later"] { try specs.put(name, map(name, annotations: name == "now" ? "{plumb/prune: keep}" : "{}")) }
                try await specs.apply()
                try specs.put("later", map("later", annotations: "{plumb/prune: keep}"))
                #expect(try await specs.apply().output.contains("No changes"))
                for name in ["now", "later"] { try specs.take(name) }
                #expect(try await specs.plan().changes == [address("later"), address("now")].map { "\($0) update" })
                try await specs.apply()
                for name in ["now", "later"] {
                    let left = try await lab.request("GET", path(name))
                    #expect(left[path: "data", "k"] == "v" && !managers(left).contains("plumb"))
                }
                #expect(try await specs.plan().changes == [])
            }
        }

        @Test func onlyFieldsAreGivenUpAndKeepTheirValues() async throws {
            try await withSpecs { lab, specs in
                try await lab.request("POST", "/api/v1/namespaces/default/configmaps", theirs("fields", "{\"k\":\"old\",\"x\":\"y\"}"))
                try specs.put("fields", map("fields", annotations: "{plumb/manage: fields}"))
                try await specs.apply()
                try specs.take("fields")
                let plan = try await specs.plan()
                #expect(plan.changes == ["\(address("fields")) update"])
                let reason = plan["changes"]?.arrayValue?.first?["reason"]
                #expect(reason == "no longer declared; its fields are given up, its values stay as they are")
                try await specs.apply()
                let left = try await lab.request("GET", path("fields"))
                #expect(left["data"] == ["k": "v", "x": "y"] && !managers(left).contains("plumb"))
                #expect(try await specs.plan().changes == [])
            }
        }

        @Test func moreThanMaxDeletesRefusesAll() async throws {
            try await withSpecs { lab, specs in
                for number in 0..<12 { try specs.put("m\(number)", map("m\(number)")) }
                try await specs.apply()
                for number in 0..<11 { try specs.take("m\(number)") }
                try specs.put("new", map("new"))
                let plan = try await lab.plumb(["plan", specs.folder, "--output", "json"])
                #expect(plan.status == 1)
                #expect(try plan.document.changes.count == 12)
                let message = try plan.document.message(of: "home")
                #expect(message.hasPrefix("11 objects that are no longer declared would be deleted, more than --max-deletes 10 allows: "))
                let refused = try await specs.apply("--output", "jsonl", status: 1)
                #expect(refused.errorOutput.contains("The plan is refused whole, nothing is done."))
                #expect(try refused.lines.last?["succeeded"] == 0)
                #expect(try await left(lab, of: "m0", "new") == ["m0"])
                try await specs.apply("--max-deletes", "0", status: 1)
                try await specs.apply("--max-deletes", "11")
                #expect(try await left(lab, of: "m10", "m11", "new") == ["m11", "new"])
            }
        }

        @Test func twoSourcesDoNotPruneEachOther() async throws {
            try await withSpecs { lab, one in
                try await withSpecs { _, two in
                    try one.put("one", map("one"))
                    try one.put("shared", map("shared"))
                    try await one.apply()
                    try two.put("two", map("two"))
                    try await two.apply()
                    #expect(try await two.plan().changes == [])
                    #expect(try await one.plan().changes == [])

                    // Both declare it: the note says whose it is, and leaving one of the two takes nothing away.
                    try two.put("shared", map("shared"))
                    let shared = try await two.plan()
                    #expect(shared.changes == [] && "\(shared["notes"] ?? .null)".contains("1 of the declared objects is in inventory home-"))
                    try two.take("shared")
                    try two.take("two")
                    try await two.apply()
                    #expect(try await left(lab, of: "one", "shared", "two") == ["one", "shared"])
                }
            }
        }

        @Test func aPlannedPruneIsNotCalledDoneByAnotherPlacesInventory() async throws {
            try await withSpecs { lab, one in
                try await withSpecs { _, two in
                    try one.put("gone", map("gone"))
                    try await one.apply()
                    try one.take("gone")
                    let file = "\(one.folder)/plan.json"
                    _ = try await one.plan("--out", file)
                    let elsewhere = try await lab.plumb(["apply", file, "--source", two.folder, "--yes"], data: "\(two.folder)/.data")
                    #expect(elsewhere.status == 1 && elsewhere.output.contains("is looked up in the inventory"), "\(elsewhere.output)")
                    #expect(try await left(lab, of: "gone") == ["gone"])
                    let here = try await lab.plumb(["apply", file, "--yes"], data: "\(one.folder)/.data")
                    #expect(here.status == 0, "\(here.output) \(here.errorOutput)")
                    #expect(try await left(lab, of: "gone") == [])
                }
            }
        }

        @Test func specsThatMovedGoOnWithTheirInventory() async throws {
            try await withSpecs(cluster: "context: home, inventory: \(id)") { lab, old in
                try await withSpecs(cluster: "context: home, inventory: \(id)") { _, new in
                    for name in ["a", "b"] { try old.put(name, map(name)) }
                    try await old.apply()
                    try new.put("a", map("a"))
                    #expect(try await new.plan().changes == ["\(address("b")) delete"])
                    try await new.apply()
                    #expect(try await left(lab, of: "a", "b") == ["a"])
                }
            }
        }

        @Test func anotherVersionOfAKindIsNoPrune() async throws {
            try await withSpecs { lab, specs in
                let fields = "metadata: {name: \(id)}, spec: {maxReplicas: 3, scaleTargetRef: {kind: Deployment, name: x, apiVersion: apps/v1}}"
                try specs.put("scaler", "{apiVersion: autoscaling/v1, kind: HorizontalPodAutoscaler, \(fields)}")
                try await specs.apply()
                try specs.put("scaler", "{apiVersion: autoscaling/v2beta2, kind: HorizontalPodAutoscaler, \(fields)}")
                #expect(try await specs.plan().changes.allSatisfy { !$0.hasSuffix("delete") })
                try await specs.apply()
                try specs.take("scaler")
                #expect(try await specs.plan().changes == ["home/autoscaling/v2beta2/HorizontalPodAutoscaler/default/\(id) delete"])
                try await specs.apply()
                #expect(try await !isThere(lab, "/apis/autoscaling/v1/namespaces/default/horizontalpodautoscalers/\(id)"))
            }
        }

        @Test func aDefinitionGoesAfterItsObjectsAndStaysForThoseOfOthers() async throws {
            try await withSpecs { lab, specs in
                let group = "\(id).example.com"
                try specs.put(
                    "definition",
                    """
                    apiVersion: apiextensions.k8s.io/v1
                    kind: CustomResourceDefinition
                    metadata: {name: widgets.\(group)}
                    spec:
                      group: \(group)
                      names: {kind: Widget, plural: widgets, singular: widget, listKind: WidgetList}
                      scope: Namespaced
                      versions:
                      - {name: v1, served: true, storage: true, schema: {openAPIV3Schema: {type: object, x-kubernetes-preserve-unknown-fields: true}}}
                    """
                )
                try specs.put("widget", "{apiVersion: \(group)/v1, kind: Widget, metadata: {name: w}, spec: {size: 3}}")
                try await specs.apply()
                let widgets = "/apis/\(group)/v1/namespaces/default/widgets"
                try await lab.request("POST", widgets, #"{"apiVersion":"\#(group)/v1","kind":"Widget","metadata":{"name":"theirs"}}"#)
                for name in ["definition", "widget"] { try specs.take(name) }
                let held = try await specs.plan()
                #expect(held.changes == ["home/\(group)/v1/Widget/default/w delete"])
                #expect(held.problems == ["home/apiextensions.k8s.io/v1/CustomResourceDefinition/widgets.\(group) held"])
                #expect("\(held["problems"] ?? .null)".contains("Widget default/theirs"))

                try await lab.request("DELETE", "\(widgets)/theirs")
                let plan = try await specs.plan()
                #expect(
                    plan.changes == [
                        "home/\(group)/v1/Widget/default/w delete", "home/apiextensions.k8s.io/v1/CustomResourceDefinition/widgets.\(group) delete",
                    ]
                )
                #expect(plan["changes"]?.arrayValue?.last?["risk"] == "disruptive")
                try await specs.apply()
                #expect(try await !isThere(lab, "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/widgets.\(group)"))
                #expect(try await specs.plan().changes == [])
            }
        }

        @Test func aNamespaceStaysForWhatOthersHaveInIt() async throws {
            try await withSpecs { lab, specs in
                let inside = "/api/v1/namespaces/\(id)/configmaps"
                try specs.put("namespace", "{apiVersion: v1, kind: Namespace, metadata: {name: \(id)}}")
                try specs.put("map", "{apiVersion: v1, kind: ConfigMap, metadata: {name: m, namespace: \(id)}, data: {k: v}}")
                try await specs.apply()
                try await lab.request("POST", inside, #"{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"theirs"}}"#)
                for name in ["namespace", "map"] { try specs.take(name) }
                let held = try await specs.plan()
                #expect(held.changes == ["home/v1/ConfigMap/\(id)/m delete"] && held.problems == ["home/v1/Namespace/\(id) held"])
                #expect("\(held["problems"] ?? .null)".contains("ConfigMap \(id)/theirs"))

                try await lab.request("DELETE", "\(inside)/theirs")
                #expect(try await specs.plan().changes == ["home/v1/ConfigMap/\(id)/m delete", "home/v1/Namespace/\(id) delete"])
                // No controller manager runs here to end a namespace: it is waited for, and the failure says what is missing.
                let apply = try await specs.apply("--wait", "1s", "--output", "jsonl", status: 1)
                let failed = try #require(try apply.lines.first { $0["type"] == "failed" })
                #expect(failed["message"]?.stringValue?.contains("it is being deleted, since") == true, "\(failed)")
                #expect(try await specs.plan().problems == ["home/v1/Namespace/\(id) blocked"])
                try await lab.request(
                    "PUT",
                    "/api/v1/namespaces/\(id)/finalize",
                    #"{"apiVersion":"v1","kind":"Namespace","metadata":{"name":"\#(id)"},"spec":{"finalizers":[]}}"#
                )
                let after = try await specs.plan()
                #expect(after.changes == [] && after.problems == [])
            }
        }

        @Test func aFinalizerIsNamed() async throws {
            try await withSpecs { lab, specs in
                try specs.put("stuck", map("stuck"))
                try await specs.apply()
                try await lab.request(
                    "PATCH",
                    path("stuck"),
                    #"{"metadata":{"finalizers":["example.com/never"]}}"#,
                    type: "application/merge-patch+json"
                )
                try specs.take("stuck")
                let apply = try await specs.apply("--wait", "1s", status: 1)
                #expect(apply.output.contains("waits for example.com/never"), "\(apply.output)")
                try await lab.request("PATCH", path("stuck"), #"{"metadata":{"finalizers":null}}"#, type: "application/merge-patch+json")
                let after = try await specs.plan()
                #expect(after.changes == [] && after.problems == [])
            }
        }

        @Test func nothingIsPrunedWhereSomethingElseFails() async throws {
            try await withSpecs { lab, specs in
                try specs.put("old", map("old"))
                try await specs.apply()
                try specs.take("old")
                try specs.put("new", "{apiVersion: v1, kind: ConfigMap, metadata: {name: \(id)-new, namespace: \(id)-nowhere}, data: {k: v}}")
                let plan = try await specs.plan()
                #expect(plan.changes == [])
                #expect(plan.problems == ["\(address("old")) blocked", "home/v1/ConfigMap/\(id)-nowhere/\(id)-new blocked"])
                try await specs.apply(status: 1)
                #expect(try await isThere(lab, path("old")))
            }
        }

        @Test func aPlumbThatIsKilledHalfWayForgetsNothingAndTakesNothing() async throws {
            try await withSpecs(cluster: "context: home, inventory: \(id)") { lab, specs in
                let count = 150
                for number in 0..<count { try specs.put("k\(number)", map("k\(number)")) }
                let background = try Background(
                    lab.commandLine(["apply", specs.folder, "--yes", "--output", "jsonl"], data: "\(specs.folder)/.data")
                )
                #expect(try await background.waits { $0.output.contains("\"started\"") && $0.output.split(separator: "\n").count > count + 20 })
                background.kill9()
                let inventory = try await lab.request("GET", "/api/v1/namespaces/kube-system/configmaps/plumb-inventory-\(id)")
                #expect(inventory[path: "data", "objects"]?.stringValue?.split(separator: "\n").count == count)

                var made: [Int] = []
                for number in 0..<count where try await isThere(lab, path("k\(number)")) { made.append(number) }
                #expect(made.count > 5 && made.count < count)
                // What was not made yet comes from somebody else now.
                let foreign = try #require((0..<count).first { !made.contains($0) })
                try await lab.request("POST", "/api/v1/namespaces/default/configmaps", theirs("k\(foreign)", "{\"k\":\"v\"}"))
                for number in 0..<count { try specs.take("k\(number)") }
                let plan = try await specs.plan("--max-deletes", "\(count)")
                #expect(plan.changes.sorted() == made.map { "\(address("k\($0)")) delete" }.sorted())
                try await specs.apply("--max-deletes", "\(count)")
                for number in made { #expect(try await !isThere(lab, path("k\(number)"))) }
                #expect(try await isThere(lab, path("k\(foreign)")))
                #expect(try await !isThere(lab, "/api/v1/namespaces/kube-system/configmaps/plumb-inventory-\(id)"))
            }
        }

        @Test func withoutTheRightToWriteItDownNothingIsMade() async throws {
            let lab = try Lab()
            let roles = "/apis/rbac.authorization.k8s.io/v1/namespaces"
            let rights = [
                "default": #"{"apiGroups":[""],"resources":["configmaps"],"verbs":["*"]}"#,
                "kube-system": #"{"apiGroups":["coordination.k8s.io"],"resources":["leases"],"verbs":["get","create","update"]}"#,
            ]
            for (namespace, rule) in rights {
                try await lab.request(
                    "POST",
                    "\(roles)/\(namespace)/roles",
                    #"{"kind":"Role","apiVersion":"rbac.authorization.k8s.io/v1","metadata":{"name":"\#(id)"},"rules":[\#(rule)]}"#
                )
                try await lab.request(
                    "POST",
                    "\(roles)/\(namespace)/rolebindings",
                    #"{"kind":"RoleBinding","apiVersion":"rbac.authorization.k8s.io/v1","metadata":{"name":"\#(id)"},"#
                        + #""subjects":[{"kind":"User","name":"nobody"}],"roleRef":{"apiGroup":"rbac.authorization.k8s.io","kind":"Role","name":"\#(id)"}}"#
                )
            }
            try await withSpecs(cluster: "context: nobody") { lab, specs in
                try specs.put("a", map("a"))
                let plan = try await specs.plan()
                #expect(
                    "\(plan["notes"] ?? .null)".contains("nothing is pruned, as the inventory can't be read: user nobody may not list configmaps")
                )
                let refused = try await specs.apply(status: 1)
                #expect(refused.output.contains("the inventory can't be written"), "\(refused.output)")
                #expect(refused.output.contains("'inventory: NAMESPACE/NAME' in the Cluster's spec"))
                #expect(try await !isThere(lab, path("a")))
                // Objects that are there need no such record.
                try await lab.request("POST", "/api/v1/namespaces/default/configmaps", theirs("a", "{\"k\":\"old\"}"))
                let updated = try await specs.apply()
                #expect(updated.errorOutput.contains("what is held is not written down"), "\(updated.errorOutput)")
                try await lab.request("DELETE", path("a"))
            }
            try await withSpecs(cluster: "context: nobody, inventory: default/\(id)") { lab, specs in
                try specs.put("b", map("b"))
                try await specs.apply()
                try specs.take("b")
                try await specs.apply()
                #expect(try await !isThere(lab, path("b")))
            }
            for namespace in rights.keys {
                for kind in ["rolebindings", "roles"] { try await lab.request("DELETE", "\(roles)/\(namespace)/\(kind)/\(id)") }
            }
        }
    }
}
