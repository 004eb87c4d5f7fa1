import Foundation
import Testing
import Values

@testable import Forge

@Suite struct ForgeRequestTests {
    /// Our table is part of what the forges publish, where that is on this machine.
    @Test func ourTableIsTheirs() {
        for (forge, operations) in Descriptions.own {
            guard let published = Descriptions.published[forge] else { continue }
            for operation in operations {
                let line = "\(forge): \(operation.method) \(operation.template)"
                guard let theirs = published.first(where: { $0.method == operation.method && $0.template == operation.template }) else {
                    Issue.record("\(line) is not published")
                    continue
                }
                for (name, words) in operation.query where name != "page" || theirs.query["page"] != nil {
                    guard let allowed = theirs.query[name] else {
                        Issue.record("\(line) has no '\(name)' in its query")
                        continue
                    }
                    if let words, let allowed { #expect(words.isSubset(of: allowed), "\(line): \(name)") }
                }
                for (name, field) in operation.fields {
                    guard let their = theirs.fields[name] else {
                        Issue.record("\(line) has no field '\(name)'")
                        continue
                    }
                    #expect(field.isRequired == their.isRequired, "\(line): \(name)")
                    if let type = their.type { #expect(field.type == nil || field.type == type, "\(line): \(name)") }
                    if let words = field.words, let allowed = their.words { #expect(words.isSubset(of: allowed), "\(line): \(name)") }
                }
                let needed = Set(theirs.fields.filter(\.value.isRequired).keys)
                #expect(needed.isSubset(of: operation.fields.keys), "\(line)")
            }
        }
    }

    /// A checker that finds nothing would let everything pass.
    @Test(
        arguments: [
            ("GET", "/repos/o/r/nothing", [], nil, "there is no"), ("GET", "/user", [("page", "1")], nil, "no parameter 'page'"),
            ("GET", "/repos/o/r/issues", [("state", "some")], nil, "'some' is no state"),
            ("POST", "/repos/o/r/issues/1/comments", [], #"{"text":"x"}"#, "needs 'body'"),
            ("POST", "/repos/o/r/issues/1/comments", [], #"{"body":"x","text":"x"}"#, "no field 'text'"),
            ("POST", "/repos/o/r/issues/1/comments", [], #"{"body":1}"#, "is no integer"),
            ("POST", "/repos/o/r/statuses/0d1a", [], #"{"state":"failed"}"#, "'failed' is no state"),
            ("GET", "/user", [], #"{"x":1}"#, "takes no body"),
        ] as [(String, String, [(String, String)], String?, String)]
    )
    func theCheckerFinds(_ method: String, _ path: String, _ query: [(String, String)], _ body: String?, _ complaint: String) throws {
        let value = try body.map { try Value(json: $0.utf8) }
        let found = Descriptions.complaints("github", method, path, query: query, body: value)
        #expect(found.contains { $0.hasPrefix("table:") && $0.contains(complaint) }, "\(found)")
        if Descriptions.published["github"] != nil { #expect(found.contains { $0.hasPrefix("description:") }, "\(found)") }
    }

    @Test(arguments: [
        ("owner/specs", ForgeService.github, true), ("owner", .github, false), ("a/b/c", .github, false), ("a/b/c", .gitlab, true),
        ("../..", .gitea, false), ("a/..", .forgejo, false), ("a//b", .gitlab, false), ("a/b?x=1", .github, false), ("a/b\r\nX: y", .gitlab, false),
        ("ä/b", .github, false), ("A-1/b_2.c", .gitea, true), ("", .github, false),
    ])
    func takesOnlyNames(_ name: String, _ service: ForgeService, _ isOne: Bool) {
        #expect(((try? ForgeAPI(service, repository: name)) != nil) == isOne)
    }

    @Test func encodesWhatItDidNotWrite() throws {
        let api = try ForgeAPI(.gitlab, repository: "group/sub/specs")
        #expect(api.pullRequest(3).target == "/projects/group%2Fsub%2Fspecs/merge_requests/3")
        #expect(api.openPullRequests(base: "a&b=c/d").target.contains("target_branch=a%26b%3Dc%2Fd"))
        let github = try ForgeAPI(.github, repository: "o/r")
        #expect(
            github.permission(of: "dependabot[bot]/../x?y", id: nil).target == "/repos/o/r/collaborators/dependabot%5Bbot%5D%2F..%2Fx%3Fy/permission"
        )
    }

    @Test func keepsToTheLimitsOfAStatus() throws {
        let long = String(repeating: "ü", count: 200)
        for service in ForgeService.allCases {
            let api = try ForgeAPI(service, repository: "o/r")
            let body = api.status(ReportStatus(.failure, long, link: "https://x/\(String(repeating: "a", count: 250))"), on: Sender.commit).body
            #expect(body?["description"]?.stringValue?.unicodeScalars.count == 140)
            #expect(body?["description"]?.stringValue?.hasSuffix("…") == true)
            #expect((body?["target_url"] == nil) == (service == .gitlab))
            #expect(body?["state"] == (service == .gitlab ? "failed" : "failure"))
            #expect(body?["context"] == "plumb/plan")
        }
    }

    @Test(arguments: [
        (#"<https://x/y?page=2>; rel="next", <https://x/y?page=9>; rel="last""#, "page=2"), (#"<https://x/y?page=1>; rel="prev""#, nil),
        (#"<https://evil.example/z?per_page=1&page=3#f>; rel="next""#, "per_page=1&page=3"), ("<https://x/y>; rel=next", nil), ("", nil),
        (";,;<", nil),
        ("<?a b>; rel=\"next\"", nil),
    ])
    func takesOnlyTheQueryOfALink(_ header: String, _ query: String?) {
        #expect(ForgeAnswer(status: 200, headers: ["link": header]).nextQuery == query)
    }
}

@Suite struct ReportMarkerTests {
    @Test func timeDoesNotCount() {
        func text(_ time: String, _ rest: String = "x") -> String { "a b\n\(rest)\n\n\(ReportMarker.time(time))\n" }
        #expect(ReportMarker.isSame(text("12:00"), text("13:00")))
        #expect(!ReportMarker.isSame(text("12:00"), text("12:00", "y")))
        // Quoted further up it is text like any other, and a change of it counts.
        #expect(!ReportMarker.isSame("\(ReportMarker.time("1")) \(text("12:00"))", "\(ReportMarker.time("2")) \(text("12:00"))"))
        // What forges do to a text.
        #expect(ReportMarker.isSame("a\r\nb \n", "a\nb"))
        #expect(!ReportMarker.isSame("a\nb", "ab"))
        // Somebody who writes our words into a value hides nothing but his own text.
        #expect(!ReportMarker.isSame("<!-- plumb:at -->1", "<!-- plumb:at -->2"))
    }

    @Test(arguments: ["home", "a--b", "a---b", "-->", "x -->\n<img>", "ü", ""])
    func siteCannotEndTheMarker(_ site: String) {
        for marker in [ReportMarker.report(site: site), ReportMarker.drift(site: site)] {
            let inner = marker.dropFirst(4).dropLast(3)
            #expect(marker.hasPrefix("<!--") && marker.hasSuffix("-->") && !inner.contains("--") && !inner.contains(">") && !inner.contains("\n"))
            #expect(ReportMarker.begins("\n \(marker)\nx", with: marker))
            #expect(!ReportMarker.begins("> \(marker)\nx", with: marker))
        }
        #expect(ReportMarker.report(site: site) != ReportMarker.report(site: site + "2"))
    }

    @Test func keepsOneCommentAndOneIssue() throws {
        func comment(_ id: Int64, _ text: String) throws -> ForgeComment { try #require(ForgeComment(["id": .int(id), "body": .string(text)])) }
        #expect(CommentPlan(own: [], text: "x").action == .create)
        #expect(CommentPlan(own: [try comment(2, "y"), try comment(1, "x")], text: "x").action == .keep(1))
        #expect(CommentPlan(own: [try comment(2, "x"), try comment(1, "y")], text: "x").action == .update(1))
        #expect(CommentPlan(own: [try comment(3, "x"), try comment(1, "y"), try comment(2, "z")], text: "x").surplus == [2, 3])
        func issue(_ number: Int64, _ state: String, _ text: String = "x") throws -> ForgeIssue {
            try #require(ForgeIssue(["number": .int(number), "title": "t", "body": .string(text), "state": .string(state)]))
        }
        func plan(_ own: [ForgeIssue], _ opens: Bool) -> IssuePlan { IssuePlan(own: own, opens: opens, title: "t", text: "x") }
        #expect(plan([], true).action == .create)
        #expect(plan([], false).action == .nothing)
        #expect(plan([try issue(1, "closed")], true).action == .reopen(1))
        #expect(plan([try issue(1, "closed")], false).action == .nothing)
        #expect(plan([try issue(1, "open")], true).action == .keep(1))
        #expect(plan([try issue(1, "open", "y")], true).action == .update(1))
        #expect(plan([try issue(1, "open")], false).action == .close(1))
        let both = plan([try issue(1, "closed"), try issue(3, "open"), try issue(2, "open")], true)
        #expect(both == plan([try issue(2, "open"), try issue(3, "open")], true))
        #expect(both.action == .keep(2) && both.surplus == [3])
        // GitHub lists pull requests among the issues.
        #expect(ForgeIssue(["number": 1, "pull_request": ["url": "x"], "state": "open"]) == nil)
    }
}

@Suite struct ForgeEndpointTests {
    @Test(
        arguments: [
            (ForgeService.github, nil, "https://api.github.com", ""), (.github, "https://github.com", "https://api.github.com", ""),
            (.github, "https://git.example/", "https://git.example", "/api/v3"), (.gitlab, nil, "https://gitlab.com", "/api/v4"),
            (.gitlab, "https://git.example:8443/gitlab", "https://git.example:8443", "/gitlab/api/v4"),
            (.gitea, "https://Git.Example/api/v1/", "https://git.example", "/api/v1"),
            (.forgejo, "http://127.0.0.1:3000", "http://127.0.0.1:3000", "/api/v1"),
            (.forgejo, "http://localhost:3000", "http://localhost:3000", "/api/v1"),
        ] as [(ForgeService, String?, String, String)]
    )
    func findsTheAPI(_ service: ForgeService, _ url: String?, _ origin: String, _ root: String) throws {
        let endpoint = try ForgeEndpoint(service, url: url)
        #expect(endpoint.origin == origin)
        #expect(endpoint.root == root)
    }

    @Test(
        arguments: [
            (ForgeService.gitea, nil), (.github, "http://git.example"), (.gitlab, "https://user:pass@git.example"), (.gitlab, "git.example"),
            (.gitea, "ftp://x"),
            (.gitea, ""), (.gitea, "https://"), (.gitlab, "http://127.0.0.1.evil.example"), (.gitea, "https://x/?token=y"),
        ] as [(ForgeService, String?)]
    )
    func refuses(_ service: ForgeService, _ url: String?) {
        let failure = #expect(throws: ForgeFailure.self) { try ForgeEndpoint(service, url: url) }
        #expect(failure?.cause == .invalid)
        #expect(failure?.description.contains("pass") == false)
    }

    @Test(arguments: [
        ("https://git.example/api/v3/repositories/7?x=1", "/api/v3/repositories/7?x=1"), ("/api/v3/y", "/api/v3/y"),
        ("https://GIT.example:443/y", "/y"), ("https://evil.example/y", nil), ("http://git.example/y", nil), ("https://git.example:8443/y", nil),
        ("//evil.example/y", nil), ("https://git.example@evil.example/y", nil), ("https://user@git.example/y", nil),
        ("https://git.example.evil/y", nil),
    ])
    func followsOnTheSameHostOnly(_ location: String, _ target: String?) throws {
        let endpoint = try ForgeEndpoint(.github, url: "https://git.example")
        #expect(endpoint.target(ofRedirect: location, from: "/api/v3/repos/o/r") == target)
    }
}
