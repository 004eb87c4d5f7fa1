import ClusterKinds
import Foundation
import KubernetesAPI
import ResourceModel
import SpecLoading
import Testing
import Values

/// Which rights come of which specs.
struct AccessRulesTests {
    private func rules(_ manifests: String, _ change: (inout AccessRules.Options) -> Void = { _ in }) throws -> AccessRules {
        let text = "apiVersion: plumb/v1\nkind: Cluster\nmetadata: {name: home}\nspec: {context: home, inventory: infra/ours}\n---\n" + manifests
        let file = SpecFile(path: "specs.yaml", relativePath: "specs.yaml", bytes: Array(text.utf8))
        let desired = try loadSpecs([file], kinds: ClusterKinds.all, options: LoadOptions(contentHash: "test"))
        var options = AccessRules.Options()
        change(&options)
        return try AccessRules(desired.resources, inventory: InventoryID(cluster: "home", declared: "infra/ours", source: "x"), options: options)
    }

    /// `NAMESPACE GROUP RESOURCE [NAMES] VERBS` of what is not Plumb's own.
    private func declared(_ rules: AccessRules) -> [String] {
        let own: Set = ["infra", "kube-system", "plumb"]
        return rules.rules.filter { !own.contains($0.namespace ?? "") && $0.names != ["kube-system"] }.map {
            "\($0.namespace ?? "-") \($0.group.isEmpty ? "core" : $0.group) \($0.resource) \($0.names) \($0.verbs.joined(separator: " "))"
        }
    }

    private static func map(_ name: String, _ annotations: String = "{}", namespace: String = "default") -> String {
        "---\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: \(name), namespace: \(namespace), annotations: \(annotations)}\n"
    }

    @Test func `What is declared decides the verbs and the names`() throws {
        let specs =
            Self.map("made") + Self.map("kept", "{plumb/prune: keep}")
            + "---\napiVersion: v1\nkind: Service\nmetadata: {name: kubernetes, annotations: {plumb/manage: fields}}\nspec: {type: LoadBalancer}\n"
            + "---\napiVersion: scheduling.k8s.io/v1\nkind: PriorityClass\nmetadata: {name: high}\nvalue: 1\n"
        #expect(
            declared(try rules(specs)) == [
                "- scheduling.k8s.io priorityclasses [\"high\"] get list watch patch create delete",
                "default core configmaps [\"made\"] get list watch patch create delete",
                "default core configmaps [\"kept\"] get list watch patch create",
                "default core services [\"kubernetes\"] get list watch patch",
            ]
        )
        #expect(declared(try rules(specs) { $0.isReportOnly = true }).allSatisfy { $0.hasSuffix("] get list watch") })
    }

    @Test func `Several of a kind are listed and followed together`() throws {
        let specs = (1...3).map { Self.map("m\($0)", namespace: "apps") }.joined()
        #expect(
            declared(try rules(specs)) == [
                "apps core configmaps [\"m1\", \"m2\", \"m3\"] get patch create delete", "apps core configmaps [] list watch",
            ]
        )
    }

    @Test func `A namespace that Roles are in is there before, and neither it nor a definition is pruned`() throws {
        let definition = """
            ---
            apiVersion: apiextensions.k8s.io/v1
            kind: CustomResourceDefinition
            metadata: {name: widgets.example.org}
            spec:
              group: example.org
              scope: Namespaced
              names: {kind: Widget, plural: widgets}
              versions: [{name: v1, served: true, storage: true, schema: {openAPIV3Schema: {type: object}}}]
            ---
            apiVersion: example.org/v1
            kind: Widget
            metadata: {name: w, namespace: filled}
            ---
            apiVersion: v1
            kind: Namespace
            metadata: {name: filled}
            ---
            apiVersion: v1
            kind: Namespace
            metadata: {name: empty}
            """
        let rules = try rules(definition)
        #expect(
            declared(rules) == [
                "- core namespaces [\"empty\"] get list watch patch create", "- core namespaces [\"filled\"] get list watch patch",
                "- apiextensions.k8s.io customresourcedefinitions [\"widgets.example.org\"] get list watch patch create",
                "filled example.org widgets [\"w\"] get list watch patch create delete",
            ]
        )
        #expect(rules.namespaces == ["filled", "plumb"])
        #expect(rules.notes.count == 2 && rules.notes.allSatisfy { $0.contains("is not pruned with these rights") })
    }

    @Test func `Who declares roles needs to give away what Plumb has not`() throws {
        let rbac = "apiVersion: rbac.authorization.k8s.io/v1"
        let rules = try rules(
            """
            ---
            \(rbac)
            kind: Role
            metadata: {name: r, namespace: default}
            ---
            \(rbac)
            kind: ClusterRoleBinding
            metadata: {name: b}
            roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: view}
            """
        )
        #expect(declared(rules).contains("default rbac.authorization.k8s.io roles [\"r\"] escalate"))
        #expect(declared(rules).contains("- rbac.authorization.k8s.io clusterroles [\"view\"] bind"))
        #expect(rules.notes.count == 2)
    }

    @Test func `A kind that nobody knows is named, unless somebody says it`() throws {
        let specs = "---\napiVersion: example.org/v1\nkind: Gadget\nmetadata: {name: g}\n"
        let unknown = #expect(throws: AccessRules.UnknownKinds.self) { try rules(specs) }
        #expect(unknown?.kinds == ["Gadget.example.org"])
        let gadget = APIResource(groupVersion: GroupVersion("example.org/v1"), kind: "Gadget", plural: "gadgetry", isNamespaced: true)
        #expect(declared(try rules(specs) { $0.served = [gadget] }).first?.contains("gadgetry") == true)
    }

    @Test func `Plumb's own rights are by name wherever that is possible`() throws {
        let rules = try rules(Self.map("a"))
        let unnamed = rules.rules.filter { $0.names.isEmpty }
        // A name does not count for what is made or for all of a kind.
        #expect(unnamed.allSatisfy { $0.verbs == ["create"] || $0.verbs == ["list"] || $0.verbs == ["list", "watch"] })
        #expect(rules.rules.allSatisfy { !$0.verbs.contains("*") && $0.resource != "*" && $0.group != "*" })
        let inventory = rules.rules.first { $0.namespace == "infra" && $0.verbs == ["update", "delete"] }
        #expect(inventory?.names == ["plumb-inventory-ours", "plumb-inventory.1.ours"])
        let reporter = try self.rules(Self.map("a")) {
            $0.isReportOnly = true
            $0.electsLeader = false
        }
        #expect(reporter.rules.allSatisfy { Set($0.verbs).isSubset(of: ["get", "list", "watch"]) })
        #expect(!reporter.rules.contains { $0.namespace == "plumb" })
    }

    @Test func `Known without a server is what a server says`() async throws {
        try await LiveCluster.with { cluster in
            let groups = try await cluster.send(APIRequest(.get, "/apis")).body["groups"]?.arrayValue ?? []
            let versions = groups.compactMap { $0[path: "preferredVersion", "groupVersion"]?.stringValue }.filter { !$0.contains("authorization") }
            var count = 0
            for version in ["v1", "rbac.authorization.k8s.io/v1"] + versions {
                let document = try await cluster.send(.discover(GroupVersion(version))).body
                for api in APIResource.discovered(in: document, groupVersion: GroupVersion(version)) where api.verbs.isSuperset(of: ["get", "patch"])
                {
                    // Groups of others' definitions, which tests of this lab leave behind.
                    guard !version.contains("example") else { continue }
                    var object: Value = ["apiVersion": .string(version), "kind": .string(api.kind), "metadata": ["name": "x"]]
                    if api.isNamespaced { object["metadata"]?["namespace"] = "default" }
                    let rules = try rules("---\n\(object.canonicalJSON)\n")
                    #expect(rules.rules.contains { $0.resource == api.plural && ($0.namespace == nil) != api.isNamespaced }, "\(version) \(api)")
                    count += 1
                }
            }
            #expect(count > 30)
        }
    }
}
