"""Words that hold a sentence together and say nothing of what it is about, in some languages."""

from __future__ import annotations

import re

_JUDGED = 2_000
"""Words by which the language is guessed."""

_ENOUGH = 0.15
"""The least share of function words of a language that is taken for the text's."""

_WORD = re.compile(r"[^\W_]+(?:['\u2019][^\W_]+)?")


def _words(listed: str) -> frozenset[str]:
    return frozenset(listed.split())


ENGLISH = _words(
    """
    a about above across after afterwards again against ago all almost alone along already also although always am
    among an and another any anybody anyone anything anyway anywhere are aren't around as at away back be became
    because become becomes been before began behind being below beside besides between beyond both but by came can
    can't cannot come comes coming could couldn't did didn't do does doesn't doing don't done down due during each
    either else enough even ever every everybody everyone everything everywhere except few first for former from
    further gave get gets getting give given gives giving go goes going gone got had hadn't has hasn't have haven't
    having he he'd he'll he's hence her here here's hers herself him himself his how how's however i i'd i'll i'm i've
    if in indeed instead into is isn't it it'd it'll it's its itself just keep kept last later latter least less let
    let's like likely little lot lots made mainly make makes making many may maybe me meanwhile might mine more
    moreover most mostly much must my myself namely near nearly need needs neither never nevertheless next no nobody
    none nor not nothing now nowhere of off often oh ok okay on once one ones only onto or other others otherwise
    ought our ours ourselves out over own per perhaps please put quite rather really said same saw say saying says see
    seem seemed seems seen several shall she she'd she'll she's should shouldn't since so some somebody someone
    something sometimes somewhat somewhere soon still such take taken takes taking than thank thanks that that's the
    their theirs them themselves then thence there there's thereby therefore these they they'd they'll they're they've
    thing things this those though through throughout thus till to together too took toward towards two under unless
    until up upon us use used uses using usually very via want wanted wants was wasn't way we we'd we'll we're we've
    well went were weren't what what's whatever when whenever where where's whereas whether which whichever while who
    who's whoever whole whom whose why will with within without won't would wouldn't yes yet you you'd you'll you're
    you've your yours yourself yourselves
    """
)

GERMAN = _words(
    """
    aber alle allem allen aller alles als also am an andere anderen anderer auch auf aus bei beim bin bis bist da dabei
    dadurch dafür daher damit dann daran darauf darum das dass davon dazu dein deine dem den denn der deren des deshalb
    dessen dich die dies diese diesem diesen dieser dieses dir doch dort du durch ein eine einem einen einer eines
    einige einigen er erst es etwa etwas euch euer für gegen gewesen hab habe haben hat hatte hatten hier hin hinter
    ich ihm ihn ihnen ihr ihre ihrem ihren ihrer im immer in indem ins ist ja jede jedem jeden jeder jedes jedoch jetzt
    kann kein keine keinen keiner können könnte man manche mehr mein meine meinem meinen meiner mich mir mit muss
    müssen nach nicht nichts noch nun nur ob oder ohne sehr sein seine seinem seinen seiner seit sich sie sind so
    solche soll sollen sollte sondern sonst über um und uns unser unsere unter viel viele vom von vor war waren warum
    was weil welche welcher wenn wer werde werden wie wieder will wir wird wo wurde wurden während zu zum zur zwar
    zwischen
    """
)

FRENCH = _words(
    """
    afin ai ainsi alors après as au aucun aucune aussi autre autres aux avait avant avec avez avoir avons c ce ceci cela
    celle celles celui ces cet cette ceux chaque chez comme comment d dans de depuis des deux dont du elle elles en
    encore entre es est et étaient était été être eux fait faire il ils j je jusqu l la le les leur leurs lors lui m
    ma mais me même mes moi moins mon n ne ni nos notre nous on ont ou où par parce pas pendant peu peut plus pour
    pourquoi qu quand que quel quelle quelles quels qui quoi s sa sans se selon sera ses seulement si son sont sous sur
    t ta te tes toi ton tous tout toute toutes très tu un une vers vos votre vous y
    """
)

SPANISH = _words(
    """
    a al algo algunas algunos ante antes aquel aquella así aunque bien cada como con contra cual cuando cuya cuyo de
    del desde donde dos durante e el él ella ellas ellos en entre era eran es esa esas ese eso esos está están esta
    estas este esto estos fue fueron ha había han hasta hay la las le les lo los más me mi mientras mis mucho muchos
    muy nada ni no nos nosotros o os otra otras otro otros para pero poco por porque pues que qué quien se según ser
    será si sí sido sin sobre son su sus también tan tanto te tiene tienen todo todos tras tu tus un una uno unos unas
    usted y ya yo
    """
)

ITALIAN = _words(
    """
    a ad agli ai al alla alle allo anche ancora che chi ci come con contro cui da dagli dai dal dalla dalle dei del
    della delle dello di dopo dove e è ed era erano essere fra fu gli ha hanno i il in io l la le lei lo loro lui ma
    mentre mi mia mio molto ne negli nei nel nella nelle noi non o ogni per perché più poi prima qual quale quando
    quella quelle quello questa queste questi questo qui se sei senza si sia solo sono sopra sotto stato su sua sue sui
    sul sulla suo suoi tra tu tutti tutto un una uno vi voi
    """
)

PORTUGUESE = _words(
    """
    a ao aos as às até com como da das de dela dele deles depois do dos e é ela elas ele eles em entre era essa esse
    esta está estão este eu foi foram há isso isto já lhe mais mas me mesmo meu minha muito na nas nem no nos nós não o
    os ou para pela pelas pelo pelos por porque quando que quem se sem ser seu seus só sua suas são também te tem ter
    teu tua um uma você vocês
    """
)

DUTCH = _words(
    """
    aan al alle als andere bij daar dan dat de deze die dit doch door dus een eens en er ge geen haar had heb hebben
    heeft hem het hier hij hoe hun iemand iets ik in is ja je kan kon kunnen maar me meer men met mij mijn moet na naar
    niet niets nog nu of om omdat ons onze ook op over reeds te tegen toch toen tot u uit uw van veel voor want waren
    was wat we wel werd wezen wie wij wil worden wordt zal ze zelf zich zij zijn zo zonder zou
    """
)

LANGUAGES = (ENGLISH, GERMAN, FRENCH, SPANISH, ITALIAN, PORTUGUESE, DUTCH)


def function_words(text: str) -> frozenset[str]:
    """English's, and those of the language that `text` seems to be in."""
    words = [match.group().lower() for match, _ in zip(_WORD.finditer(text), range(_JUDGED), strict=False)]
    share = {known: sum(word in known for word in words) / max(1, len(words)) for known in LANGUAGES}
    best = max(LANGUAGES, key=lambda known: share[known])
    return best if share[best] >= _ENOUGH else ENGLISH | best
