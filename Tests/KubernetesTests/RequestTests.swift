import KubernetesAPI
import Testing
import Values

/// Requests and answers as values.
struct RequestTests {
    private let services = APIResource(groupVersion: GroupVersion("v1"), kind: "Service", plural: "services", isNamespaced: true)
    private let roles = APIResource(
        groupVersion: GroupVersion("rbac.authorization.k8s.io/v1"),
        kind: "ClusterRole",
        plural: "clusterroles",
        isNamespaced: false
    )

    @Test func targetsComeApartAgain() {
        let request = APIRequest.apply("/api/v1/namespaces/a/services/b", body: [:], fieldManager: "plumb", isForced: true, isDryRun: true)
        #expect(request.target == "/api/v1/namespaces/a/services/b?fieldManager=plumb&force=true&fieldValidation=Strict&dryRun=All")
        #expect(APIRequest(.patch, target: request.target).query == request.query)
        let odd = APIRequest(.get, "/x", query: [.init("continue", "a=b&c d/ü")])
        #expect(odd.target == "/x?continue=a%3Db%26c%20d%2F%C3%BC")
        #expect(APIRequest(.get, target: odd.target).query == odd.query)
    }

    @Test func pathsAreEncoded() {
        #expect(services.path(namespace: "default", name: "kubernetes") == "/api/v1/namespaces/default/services/kubernetes")
        #expect(services.path(namespace: nil) == "/api/v1/services")
        #expect(roles.path(namespace: "ignored", name: "system:a/b") == "/apis/rbac.authorization.k8s.io/v1/clusterroles/system:a%2Fb")
        #expect(APIRequest.list(services, namespace: "a", limit: 5, after: "x").target == "/api/v1/namespaces/a/services?limit=5&continue=x")
    }

    @Test func onlyWhatCanBeRepeatedIs() {
        #expect(APIRequest(.get, "/x").isRepeatable)
        #expect(APIRequest.apply("/x", body: [:], fieldManager: "p", isForced: false).isRepeatable)
        #expect(!APIRequest.mergePatch("/x", body: [:], fieldManager: "p").isRepeatable)
        #expect(!APIRequest.delete("/x", uid: "u").isRepeatable)
        #expect(APIRequest.delete("/x", uid: "u").body?[path: "preconditions", "uid"] == "u")
        #expect(!APIRequest.create(services, namespace: "a", body: [:], fieldManager: "p").isRepeatable)
    }

    @Test func discoveryLeavesSubresourcesOut() {
        let document: Value = [
            "resources": [
                ["name": "services", "kind": "Service", "namespaced": true, "verbs": ["get", "patch"]],
                ["name": "services/status", "kind": "Service", "namespaced": true],
                ["name": "nodes", "kind": "Node", "namespaced": false, "verbs": ["get"]],
                ["kind": "Broken"],
            ]
        ]
        let found = APIResource.discovered(in: document, groupVersion: GroupVersion("v1"))
        #expect(found.map(\.plural) == ["services", "nodes"])
        #expect(found.first?.verbs == ["get", "patch"])
        #expect(APIResource.discovered(in: "404 page not found", groupVersion: GroupVersion("v1")) == [])
    }

    @Test func versionsAreRead() {
        #expect(ServerVersion(["major": "1", "minor": "27+", "gitVersion": "v1.27.3+k3s1"])?.minor == 27)
        #expect(ServerVersion(["major": "1"]) == nil)
        #expect(GroupVersion("apps/v1") == GroupVersion(group: "apps", version: "v1"))
        #expect(GroupVersion("v1").path == "/api/v1")
        #expect(GroupVersion("apps/v1").description == "apps/v1")
    }

    @Test func statusesAreRead() {
        #expect(APIStatus(APIResponse(status: 201, body: [:])) == nil)
        let text = APIStatus(APIResponse(status: 404, body: "404 page not found\n"))
        #expect(text?.isUnknownPath == true)
        #expect(text?.message == "404 page not found")
        let missing: Value = ["reason": "NotFound", "message": "services \"x\" not found", "details": ["name": "x", "kind": "services"]]
        let status = APIStatus(APIResponse(status: 404, body: missing))
        #expect(status?.isUnknownPath == false)
        #expect(status?.description == "404 NotFound: services \"x\" not found")
        let long = APIStatus(APIResponse(status: 500, body: ["message": .string(String(repeating: "x", count: 5000))]))
        #expect(long?.message.count == 601)
    }
}

/// `managedFields`: who set what.
struct ManagedFieldsTests {
    private let fields: Value = [
        "f:metadata": ["f:labels": [".": [:], "f:a/b": [:]]],
        "f:spec": [
            "f:type": [:], "f:ports": [".": [:], #"k:{"port":443,"protocol":"TCP"}"#: [".": [:], "f:port": [:]]],
            "f:finalizers": [#"v:"x""#: [:]], "f:list": ["i:0": [:]],
        ],
    ]

    @Test func comeApartAndTogether() {
        #expect(FieldTree(fieldsV1: fields).fieldsV1 == fields)
        #expect(FieldTree(fieldsV1: [:]).isMember)
        #expect(FieldTree(fieldsV1: ["x:odd": [:]]).children.isEmpty)
    }

    @Test func tellWhoTouchesAField() {
        let tree = FieldTree(fieldsV1: fields)
        func touches(_ steps: FieldStep...) -> Bool { tree.touches(steps) }
        #expect(touches(.field("spec"), .field("type")))
        // Inside of what is one value, and around what is several.
        #expect(touches(.field("spec"), .field("type"), .field("inner")))
        #expect(touches(.field("spec")))
        #expect(!touches(.field("spec"), .field("clusterIP")))
        #expect(touches(.field("spec"), .field("ports"), .key(["port": 443, "protocol": "TCP"]), .field("port")))
        #expect(!touches(.field("spec"), .field("ports"), .key(["port": 80, "protocol": "TCP"])))
        #expect(touches(.field("spec"), .field("finalizers"), .value("x")))
        #expect(!touches(.field("metadata"), .field("labels"), .field("c")))
    }

    @Test func fieldsAreTakenOut() {
        let tree = FieldTree(fieldsV1: ["f:spec": ["f:type": [:], "f:a": ["f:b": [:]]]])
        let without = tree.subtracting([.field("spec"), .field("a"), .field("b")])
        #expect(without.fieldsV1 == ["f:spec": ["f:type": [:]]])
        #expect(without.subtracting([.field("spec"), .field("type")]).isEmpty)
    }

    @Test func entriesKnowTheirManager() {
        let object: Value = [
            "metadata": [
                "managedFields": [
                    ["manager": "plumb", "operation": "Apply", "fieldsV1": ["f:a": [:]]],
                    ["manager": "plumb", "operation": "Update", "fieldsV1": ["f:a": [:]]],
                    ["manager": "plumb", "operation": "Apply", "subresource": "status"],
                ]
            ]
        ]
        let entries = ManagedFieldsEntry.entries(of: object)
        #expect(entries.map { $0.isApply(by: "plumb") } == [true, false, false])
        #expect(entries.map(\.index) == [0, 1, 2])
        #expect(ManagedFieldsEntry.entries(of: [:]).isEmpty)
    }
}
