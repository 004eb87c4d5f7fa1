package import Forge
import Foundation
import ResourceModel

extension Configuration {
    /// What is said at a forge, by itself.
    package struct Reports: Sendable, Hashable {
        /// A GitHub App.
        package struct App: Sendable, Hashable {
            /// Its App ID or client ID.
            package var id: String
            /// nil: asked for, by the repository.
            package var installation: Int64?
            /// The private key that GitHub has made for it, PEM.
            package var keyFile: String

            package init(id: String, installation: Int64?, keyFile: String) {
                self.id = id
                self.installation = installation
                self.keyFile = keyFile
            }
        }

        package enum HideValues: String, Sendable, Hashable, CaseIterable {
            /// Where everybody can read the repository.
            case auto
            case always
            case never
        }

        package var forge: ForgeService
        /// What a person opens in a browser, or the API's own; nil: the forge's public one.
        package var url: String?
        /// `owner/name`; at GitLab with every group.
        package var repository: String
        package var tokenFile: String?
        package var app: App?
        /// PEM, trusted in addition to what the system trusts.
        package var authorityFile: String?
        /// Whether open pull requests for the followed branch are reported on.
        package var pullRequests = true
        /// Whether what drifts and is only reported is an issue of its own.
        package var driftIssue = false
        /// Plans in an hour for one author who may not write to the repository.
        package var plansPerAuthor = 10
        package var hideValues = HideValues.auto

        package init(forge: ForgeService, repository: String) {
            self.forge = forge
            self.repository = repository
        }
    }
}

extension Configuration.Reports {
    /// - Parameter source: Its URL; what is not said of the repository is found there.
    init(_ decoder: inout SpecDecoder, source: String) {
        let position = decoder.position
        if decoder.declaredPosition(of: "forge") == nil {
            decoder.report("missing field 'reports.forge'", at: position, fix: "It is one of: forgejo, gitea, github, gitlab.")
        }
        let forge = decoder.choice("forge", of: ForgeService.self)
        self.init(forge: forge ?? .gitea, repository: decoder.string("repository") ?? Self.repository(in: source) ?? "")
        url = decoder.string("url")
        tokenFile = decoder.path("tokenFile")
        app = decoder.nested("app") { decoder in
            let position = decoder.position
            let id = decoder.string("id")
            let installation = decoder.int("installation", in: 1...Int(Int64.max)).map { Int64($0) }
            let keyFile = decoder.path("keyFile")
            if id == nil { decoder.report("missing field 'reports.app.id'", at: position, fix: "It is the number in the App's settings.") }
            if keyFile == nil, decoder.declaredPosition(of: "keyFile") == nil { decoder.report("missing field 'reports.app.keyFile'", at: position) }
            return App(id: id ?? "", installation: installation, keyFile: keyFile ?? "")
        }
        authorityFile = decoder.path("caFile")
        pullRequests = decoder.bool("pullRequests") ?? pullRequests
        driftIssue = decoder.bool("driftIssue") ?? driftIssue
        plansPerAuthor = decoder.int("plansPerAuthor", in: 1...1000) ?? plansPerAuthor
        hideValues = decoder.choice("hideValues", of: HideValues.self) ?? hideValues

        let isGiven = decoder.declaredPosition(of: "tokenFile") != nil
        if isGiven == (app != nil) {
            let fix = "A file with a token, or a GitHub App; no token stands in this file itself."
            decoder.report("'reports' needs either 'tokenFile' or 'app'", at: position, fix: fix)
        }
        if let forge {
            do throws(ForgeFailure) {
                if app != nil, forge != .github { throw ForgeFailure(.invalid, "\(forge.name) has no Apps", fix: "Give a 'tokenFile'.") }
                try ForgeClient.check(forge, url: url, repository: repository)
            } catch {
                decoder.report("'reports': \(error.message)", at: position, fix: error.fix ?? "")
            }
        }
    }

    /// `owner/name` of a URL like `https://git.example.org/owner/name.git` or `git@git.example.org:owner/name`.
    static func repository(in url: String) -> String? {
        guard !url.hasPrefix("file:"), !url.hasPrefix("/") else { return nil }
        var path: Substring
        if let scheme = url.firstRange(of: "://") {
            let rest = url[scheme.upperBound...]
            guard let slash = rest.firstIndex(of: "/") else { return nil }
            path = rest[rest.index(after: slash)...]
        } else {
            guard let colon = url.firstIndex(of: ":") else { return nil }
            path = url[url.index(after: colon)...]
        }
        // A path inside the repository may follow it.
        if let inside = path.firstRange(of: "//") { path = path[..<inside.lowerBound] }
        if path.hasSuffix(".git") { path = path.dropLast(4) }
        let name = path.split(separator: "/").joined(separator: "/")
        return name.isEmpty ? nil : name
    }
}
