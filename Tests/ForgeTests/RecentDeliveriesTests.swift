import Forge
import Testing

@Suite struct RecentDeliveriesTests {
    private func delivery(_ id: String?, _ notices: [PushNotice], of forge: ForgeKind = .github) -> WebhookDelivery {
        WebhookDelivery(forge: forge, id: id, event: .pushes(notices))
    }

    private func notice(_ commit: String?, ref: String? = "refs/heads/main") -> PushNotice {
        PushNotice(provider: "github", repositories: [], ref: ref, commit: commit)
    }

    private let a = Sender.commit
    private let b = Sender.other

    @Test func dropsADeliveryThatComesAgain() {
        var recent = RecentDeliveries()
        #expect(recent.news(in: delivery("1", [notice(a)]), at: .seconds(5)).count == 1)
        #expect(recent.news(in: delivery("2", [notice(b)]), at: .seconds(100)).count == 1)
        #expect(recent.news(in: delivery("1", [notice(a)]), at: .seconds(604)).isEmpty)
        // Another forge's with the same number.
        #expect(recent.news(in: delivery("1", [notice(a)], of: .gitea), at: .seconds(604)).count == 1)
        #expect(recent.news(in: delivery("1", [notice(b)]), at: .seconds(2000)).count == 1)
    }

    @Test func hearsASecondHookOnce() {
        var recent = RecentDeliveries()
        #expect(recent.news(in: delivery("1", [notice(a)]), at: .zero).count == 1)
        #expect(recent.news(in: delivery("2", [notice(a)]), at: .seconds(1)).isEmpty)
        #expect(recent.news(in: delivery("3", [notice(a, ref: "refs/heads/other")]), at: .seconds(1)).count == 1)
        #expect(recent.news(in: delivery("4", [notice(a)]), at: .seconds(11)).count == 1)
    }

    /// A branch that goes back and forth is news each time, with IDs and without.
    @Test(arguments: [true, false]) func losesNoPush(_ hasIDs: Bool) {
        var recent = RecentDeliveries()
        for round in 0..<100 {
            let commit = round.isMultiple(of: 2) ? a : b
            let heard = recent.news(in: delivery(hasIDs ? "\(round)" : nil, [notice(commit)]), at: .milliseconds(Int64(round)))
            #expect(heard == [notice(commit)])
        }
        // Deleted and made again.
        #expect(recent.news(in: delivery(nil, [notice(nil)]), at: .seconds(1)).count == 1)
        #expect(recent.news(in: delivery(nil, [notice(b)]), at: .seconds(1)).count == 1)
        // Says nothing in particular: whatever is followed may have moved.
        for _ in 0..<10 { #expect(recent.news(in: delivery(nil, [notice(nil, ref: nil)]), at: .seconds(2)).count == 1) }
    }

    @Test func staysSmall() {
        var recent = RecentDeliveries(limit: 1000)
        var largest = 0
        for number in 0..<10_000 {
            let heard = recent.news(in: delivery("\(number)", [notice(a, ref: "refs/heads/\(number)")]), at: .milliseconds(Int64(number)))
            #expect(heard.count == 1)
            largest = max(largest, recent.count)
        }
        #expect(largest <= 2000)
    }
}

@Suite struct FollowedRepositoryTests {
    private func notice(_ names: String...) -> PushNotice { PushNotice(provider: "github", repositories: names) }

    @Test(arguments: [
        "https://forge.example/owner/specs.git", "https://user:pass@forge.example:8443/owner/specs", "git@forge.example:owner/specs.git",
        "ssh://git@forge.example:2222/owner/specs/", "https://FORGE.example/Owner/Specs",
    ])
    func knowsItsURLHoweverItIsWritten(_ url: String) {
        let repository = FollowedRepository(url: url)
        #expect(repository.isMeant(by: notice("owner/specs", "https://forge.example/owner/specs.git")))
        #expect(repository.isMeant(by: notice("git@forge.example:owner/specs.git")))
        #expect(!repository.isMeant(by: notice("owner/specs", "https://elsewhere.example/owner/specs.git")))
        #expect(!repository.isMeant(by: notice("owner/other", "https://forge.example/owner/other.git")))
        #expect(!repository.isMeant(by: notice("https://forge.example/owner/specs.git.evil.example/x")))
        // A script that knows no host, and one that knows nothing: our secret vouches for it.
        #expect(repository.isMeant(by: notice("owner/specs")))
        #expect(!repository.isMeant(by: notice("wner/specs")))
        #expect(repository.isMeant(by: notice()))
    }

    @Test func goesByTheConfiguredName() {
        let repository = FollowedRepository(url: "file:///srv/git/specs.git", name: "Owner/specs")
        #expect(repository.isMeant(by: notice("owner/specs", "https://anywhere.example/owner/specs.git")))
        #expect(repository.isMeant(by: notice("git@anywhere.example:owner/specs.git")))
        #expect(!repository.isMeant(by: notice("another-owner/specs")))
        #expect(!FollowedRepository(url: "file:///srv/git/specs.git").isMeant(by: notice("owner/specs")))
    }

    @Test(arguments: [
        ("file:///srv/git/specs.git", nil, "/srv/git/specs.git", true), ("/srv/git/specs.git", nil, "/srv/git/specs.git", true),
        ("file:///srv/git/specs.git", nil, "/srv/git/other.git", false), ("git@localhost:git/specs.git", nil, "/srv/git/specs.git", true),
        ("ssh://git@localhost/srv/git/specs.git", nil, "/srv/git/specs.git", true), ("git@localhost:specs", nil, "/srv/git/more-specs", false),
        ("https://forge.example/owner/specs", "/srv/git/specs.git", "/srv/git/specs.git", true),
    ])
    func knowsItsHook(_ url: String, _ name: String?, _ path: String, _ isMeant: Bool) {
        #expect(FollowedRepository(url: url, name: name).isMeant(byHookIn: path) == isMeant)
    }
}
