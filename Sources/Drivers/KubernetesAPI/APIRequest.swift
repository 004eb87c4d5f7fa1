package import Values

/// A request to an API server, as data: it can be shown, compared, stored and tested without a server.
package struct APIRequest: Hashable, Sendable {
    package enum Method: String, Hashable, Sendable {
        case get = "GET"
        case post = "POST"
        case put = "PUT"
        case patch = "PATCH"
        case delete = "DELETE"
    }

    package var method: Method
    /// Absolute, each segment percent-encoded already: `/api/v1/namespaces/default/services/kubernetes`.
    package var path: String
    /// Name and value, not yet encoded.
    package var query: [QueryItem]
    /// Of the body; nil where there is none.
    package var contentType: String?
    package var body: Value?

    package init(_ method: Method, _ path: String, query: [QueryItem] = [], contentType: String? = nil, body: Value? = nil) {
        self.method = method
        self.path = path
        self.query = query
        self.contentType = contentType
        self.body = body
    }

    package struct QueryItem: Hashable, Sendable {
        package var name: String
        package var value: String

        package init(_ name: String, _ value: String) {
            self.name = name
            self.value = value
        }
    }
}

/// What a server answered, whatever its status.
package struct APIResponse: Hashable, Sendable {
    /// The HTTP status.
    package var status: Int
    package var body: Value
    /// The texts of `Warning` headers.
    package var warnings: [String]

    package init(status: Int, body: Value, warnings: [String] = []) {
        self.status = status
        self.body = body
        self.warnings = warnings
    }
}

/// No answer: the server can't be reached, says nothing, or can't be understood. An answer with status 403 is an `APIResponse`.
package struct APIFailure: Error, Hashable, Sendable {
    package enum Cause: Hashable, Sendable {
        /// No connection: refused, no route, unknown name, closed half-way.
        case unreachable
        /// The deadline passed.
        case timedOut
        /// No trust: the server's certificate or ours.
        case untrusted
        /// No credentials that could be used.
        case credentials
        /// An answer that is no JSON, or larger than we take.
        case unreadable
    }

    package var cause: Cause
    /// What happened, why, and what to do, in plain words.
    package var message: String

    package init(_ cause: Cause, _ message: String) {
        self.cause = cause
        self.message = message
    }
}

/// Sends one request and waits for its answer, within a deadline, with the retries that are safe.
package typealias APISender = @Sendable (APIRequest) async throws(APIFailure) -> APIResponse
