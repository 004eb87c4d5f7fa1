import Foundation
import Values

/// One operation of a forge's API: what may and what must be sent.
struct Operation: Sendable, Hashable {
    var method: String
    /// `/repos/{}/{}/pulls/{}`: what parameters are called does not matter.
    var template: String
    /// Parameters of the query; allowed words where there is a list of them.
    var query: [String: Set<String>?]
    var fields: [String: Field]

    struct Field: Sendable, Hashable {
        var isRequired: Bool
        /// nil: any.
        var type: String?
        var words: Set<String>?
    }

    func isMeant(_ method: String, _ path: String) -> Bool {
        guard method == self.method else { return false }
        let (own, other) = (
            template.split(separator: "/", omittingEmptySubsequences: false), path.split(separator: "/", omittingEmptySubsequences: false)
        )
        return own.count == other.count && zip(own, other).allSatisfy { $0 == $1 || ($0 == "{}" && !$1.isEmpty) }
    }

    /// What is wrong with a request.
    func complaints(query sent: [(String, String)], body: Value?) -> [String] {
        var complaints: [String] = []
        for (name, value) in sent {
            guard let allowed = query[name] else {
                complaints.append("no parameter '\(name)' in the query of \(method) \(template)")
                continue
            }
            if let allowed, !allowed.contains(value) { complaints.append("'\(value)' is no \(name) of \(method) \(template)") }
        }
        let members = body?.objectValue ?? [:]
        if body != nil, fields.isEmpty { complaints.append("\(method) \(template) takes no body") }
        for (name, field) in fields where field.isRequired && members[name] == nil { complaints.append("\(method) \(template) needs '\(name)'") }
        for (name, value) in members {
            guard let field = fields[name] else {
                if !fields.isEmpty { complaints.append("no field '\(name)' in \(method) \(template)") }
                continue
            }
            if let type = field.type, type != value.typeName { complaints.append("'\(name)' of \(method) \(template) is no \(value.typeName)") }
            if let words = field.words, let word = value.stringValue, !words.contains(word) {
                complaints.append("'\(word)' is no \(name) of \(method) \(template)")
            }
        }
        return complaints
    }
}

extension Value {
    fileprivate var typeName: String {
        switch self {
        case .null: "null"
        case .bool: "boolean"
        case .int: "integer"
        case .double: "number"
        case .string, .sensitive: "string"
        case .array: "array"
        case .object: "object"
        }
    }
}

extension Operation {
    /// `POST /repos/{}/{}/statuses/{} ? a b | state!:string(error,failure) context:string`
    init(_ line: String) {
        let sides = line.split(separator: "|", maxSplits: 1)
        let front = (sides.first ?? "").split(separator: "?", maxSplits: 1)
        let words = (front.first ?? "").split(separator: " ")
        method = String(words.first ?? "")
        template = String(words.last ?? "")
        query = [:]
        fields = [:]
        func list(_ text: Substring) -> (String, Set<String>?) {
            let parts = text.split(separator: "(")
            let words = parts.count > 1 ? Set(parts[1].dropLast().split(separator: ",").map(String.init)) : nil
            return (String(parts.first ?? ""), words)
        }
        for word in front.dropFirst().joined().split(separator: " ") {
            let (name, words) = list(word)
            query.updateValue(words, forKey: name)
        }
        for word in sides.dropFirst().joined().split(separator: " ") {
            let (text, words) = list(word)
            let parts = text.split(separator: ":")
            let name = parts.first ?? ""
            let field = Field(isRequired: name.hasSuffix("!"), type: parts.count > 1 ? String(parts[1]) : nil, words: words)
            fields[String(name.hasSuffix("!") ? name.dropLast() : name)] = field
        }
    }

    /// All of a description: OpenAPI 3 as GitHub and GitLab publish it, Swagger 2 as Gitea and Forgejo do.
    static func read(description: Value) -> [Operation] {
        func resolved(_ value: Value?) -> Value {
            var value = value ?? .null
            for _ in 0..<8 {
                guard let reference = value["$ref"]?.stringValue else { return value }
                var target = description
                for part in reference.split(separator: "/").dropFirst() {
                    target = target[String(part).replacing("~1", with: "/").replacing("~0", with: "~")] ?? .null
                }
                value = target
            }
            return value
        }
        func words(_ value: Value) -> Set<String>? { (value["enum"]?.arrayValue).map { Set($0.compactMap(\.stringValue)) } }
        var operations: [Operation] = []
        for (path, item) in description["paths"]?.objectValue ?? [:] {
            let template = path.split(separator: "/", omittingEmptySubsequences: false).map { $0.hasPrefix("{") && $0.hasSuffix("}") ? "{}" : $0 }
            for (method, value) in item.objectValue ?? [:] where ["get", "post", "put", "patch", "delete"].contains(method) {
                let parameters = ((value["parameters"]?.arrayValue ?? []) + (item["parameters"]?.arrayValue ?? [])).map(resolved)
                var operation = Operation("\(method.uppercased()) \(template.joined(separator: "/"))")
                for parameter in parameters where parameter["in"]?.stringValue == "query" {
                    operation.query.updateValue(words(resolved(parameter["schema"] ?? parameter)), forKey: parameter["name"]?.stringValue ?? "")
                }
                let inBody = parameters.first { $0["in"]?.stringValue == "body" }?["schema"]
                let schema = resolved(inBody ?? resolved(value["requestBody"])[path: "content", "application/json", "schema"])
                let required = Set((schema["required"]?.arrayValue ?? []).compactMap(\.stringValue))
                for (name, property) in schema["properties"]?.objectValue ?? [:] {
                    let property = resolved(property)
                    operation.fields[name] = Field(
                        isRequired: required.contains(name),
                        type: property["type"]?.stringValue,
                        words: words(property)
                    )
                }
                operations.append(operation)
            }
        }
        return operations
    }
}

/// What Plumb uses of each API, and what the forges' own descriptions say where they are on this machine.
enum Descriptions {
    private static let gitea = """
        GET /user
        GET /repos/{}/{}
        GET /repos/{}/{}/statuses/{} ? limit page sort(highestindex)
        GET /repos/{}/{}/pulls ? limit page state(open,closed,all)
        GET /repos/{}/{}/pulls/{}
        GET /repos/{}/{}/collaborators/{}/permission
        GET /repos/{}/{}/issues/{}/comments
        POST /repos/{}/{}/issues/{}/comments | body!:string
        PATCH /repos/{}/{}/issues/comments/{} | body!:string
        DELETE /repos/{}/{}/issues/comments/{}
        POST /repos/{}/{}/statuses/{} | context:string description:string state:string(pending,success,error,failure,warning) target_url:string
        GET /repos/{}/{}/issues ? created_by limit page state(closed,open,all) type(issues,pulls)
        POST /repos/{}/{}/issues | title!:string body:string
        PATCH /repos/{}/{}/issues/{} | title:string body:string state:string(open,closed)
        """

    static let own: [String: [Operation]] = [
        "gitea": operations(gitea), "forgejo": operations(gitea),
        "github": operations(
            """
            GET /user
            GET /app
            GET /repos/{}/{}
            GET /repos/{}/{}/installation
            POST /app/installations/{}/access_tokens | repositories:array
            GET /repos/{}/{}/pulls ? base page per_page state(open,closed,all)
            GET /repos/{}/{}/pulls/{}
            GET /repos/{}/{}/collaborators/{}/permission
            GET /repos/{}/{}/issues/{}/comments ? page per_page
            POST /repos/{}/{}/issues/{}/comments | body!:string
            PATCH /repos/{}/{}/issues/comments/{} | body!:string
            DELETE /repos/{}/{}/issues/comments/{}
            POST /repos/{}/{}/statuses/{} | context:string description:string state!:string(error,failure,pending,success) target_url:string
            GET /repos/{}/{}/commits/{}/statuses ? page per_page
            GET /repos/{}/{}/issues ? creator direction(asc,desc) page per_page sort(created,updated,comments) state(open,closed,all)
            POST /repos/{}/{}/issues | title! body:string
            PATCH /repos/{}/{}/issues/{} | title body:string state:string(open,closed)
            GET /repos/{}/{}/commits/{}/check-runs ? check_name filter(latest,all)
            POST /repos/{}/{}/check-runs | name!:string head_sha!:string external_id:string status:string(completed) conclusion:string(failure,success) output:object
            PATCH /repos/{}/{}/check-runs/{} | output:object
            """
        ),
        "gitlab": operations(
            """
            GET /api/v4/user
            GET /api/v4/projects/{}
            GET /api/v4/projects/{}/merge_requests ? page per_page state(opened,closed,locked,merged,all) target_branch
            GET /api/v4/projects/{}/merge_requests/{}
            GET /api/v4/projects/{}/members/all/{}
            GET /api/v4/projects/{}/merge_requests/{}/notes ? activity_filter(all_notes,only_comments) order_by(created_at) page per_page sort(asc,desc)
            POST /api/v4/projects/{}/merge_requests/{}/notes | body!:string
            PUT /api/v4/projects/{}/merge_requests/{}/notes/{} | body:string
            DELETE /api/v4/projects/{}/merge_requests/{}/notes/{}
            POST /api/v4/projects/{}/statuses/{} | context:string description:string state!:string(pending,success,failed) target_url:string
            GET /api/v4/projects/{}/repository/commits/{}/statuses ? name order_by(id) page per_page sort(desc)
            GET /api/v4/projects/{}/issues ? author_username order_by(created_at) page per_page scope(all) sort(asc,desc) state(opened,closed,all)
            POST /api/v4/projects/{}/issues | title!:string description:string
            PUT /api/v4/projects/{}/issues/{} | title:string description:string state_event:string(reopen,close)
            """
        ),
    ]

    /// Empty where they are not on this machine.
    static let published: [String: [Operation]] = {
        var found: [String: [Operation]] = [:]
        for forge in own.keys {
            guard let data = FileManager.default.contents(atPath: "\(folder)/\(forge)/openapi.json"), let value = try? Value(json: data) else {
                continue
            }
            found[forge] = Operation.read(description: value)
        }
        return found
    }()

    static let folder: String = {
        let beside = URL(fileURLWithPath: #filePath).appendingPathComponent("../../../../../shared/forges").standardized.path
        return ProcessInfo.processInfo.environment["PLUMB_FORGE_DESCRIPTIONS"] ?? beside
    }()

    private static func operations(_ text: String) -> [Operation] { text.split(separator: "\n").map { Operation(String($0)) } }

    /// What is wrong with a request, by our table and by the description.
    ///
    /// - Parameter path: as the description has it.
    static func complaints(_ forge: String, _ method: String, _ path: String, query: [(String, String)], body: Value?) -> [String] {
        var complaints: [String] = []
        for (name, operations) in [("table", own[forge]), ("description", published[forge])] {
            guard let operations else { continue }
            guard let operation = operations.filter({ $0.isMeant(method, path) }).min(by: { $0.template.count > $1.template.count }) else {
                complaints.append("\(name): there is no \(method) \(path)")
                continue
            }
            complaints += operation.complaints(query: query, body: body).map { "\(name): \($0)" }
        }
        return complaints
    }
}
