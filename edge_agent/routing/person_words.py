"""English words that a description of somebody is made of. Lower case, one blank apart."""

from __future__ import annotations


def _of(listed: str) -> frozenset[str]:
    return frozenset(listed.split())


PEOPLE = _of(
    """
    accountant activist actor actress actuary adjuster administrator adviser advisor agent aide ambassador
    anaesthetist analyst applicant apprentice archaeologist archbishop architect archivist artist assistant associate
    astronaut athlete attendant attorney auditor aunt author bailiff baker banker barber barista baron bartender
    beekeeper bishop blogger boss boxer boy boyfriend brewer bride broker brother builder butcher buyer candidate
    captain caregiver carer caretaker carpenter caseworker cashier caterer celebrity cellist ceo cfo chair chairman
    chairperson chairwoman chancellor chaplain charity chauffeur chef chemist chief child choirmaster cio ciso
    claimant cleaner clerk client climber clinician cmo co-founder co-worker coach colleague colonel columnist
    commander commissioner complainant composer conductor congressman congresswoman constable consultant contact
    contractor controller convict coo cook coordinator copywriter coroner corporal councillor councilman councilwoman
    counsel counsellor counselor couple courier cousin coworker cpo craftsman creditor critic cto curate curator
    customer cyclist dad dancer daughter deacon dealer dean debtor defendant defender dentist deputy designer
    detective developer dietitian diplomat director diver doctor donor driver drummer duchess duke economist editor
    educator electrician employee employer engineer entrepreneur escort ex-boyfriend ex-girlfriend ex-husband ex-wife
    examiner executive executor expert farmer father fiance fiancee firefighter fireman fisherman flatmate florist
    footballer foreman founder friend gardener gatekeeper geologist ghostwriter girl girlfriend goalkeeper golfer
    governor graduate grandfather grandmother gravedigger groundsman guard guardian guest guide guitarist gymnast
    gynaecologist gynecologist hacker hairdresser head headmaster headmistress headteacher heir heiress hire historian
    homeowner hostess housekeeper housemate husband imam individual influencer informant inheritor inmate innkeeper
    inspector instructor intern interpreter inventor investigator investor janitor jockey joiner journalist judge
    junior juror justice kid king lab-technician laborer labourer lady landlady landlord lawmaker lawyer lead leader
    leaker lecturer legislator lender librarian lieutenant lifeguard linesman lobbyist lodger lord magistrate maid
    major man manager manufacturer marine marketer mason mate mathematician matron mayor mechanic mediator member
    mentor merchant microbiologist midwife miner minister mistress model moderator monk mother mp mum musician nanny
    neighbor neighbour nephew neurologist newcomer niece notary novelist novice nun nurse nutritionist occupant
    officer official ombudsman oncologist operator optician organist organizer orthodontist owner paediatrician
    painter paralegal paramedic parent parishioner part-timer participant partner passenger pastor pathologist patient
    patriarch patron pediatrician pensioner person pharmacist philanthropist photographer physician physicist physio
    physiotherapist pianist pilot plaintiff planner player playwright plumber poet policeman policewoman politician
    porter postdoc postman postwoman preacher premier president priest prince princess principal prisoner producer
    professor programmer prosecutor prostitute psychiatrist psychologist psychotherapist publisher pupil queen rabbi
    radiographer radiologist ranger rapper realtor receptionist recipient recruit recruiter rector referee refugee
    registrar regulator rep reporter representative researcher resident respondent retiree reviewer ringleader rival
    roommate runner sailor salesman salesperson saleswoman scholar scientist scout secretary senator senior sergeant
    servant sheriff shopkeeper sibling singer sister skater sniper socialite sociologist soldier solicitor sommelier
    son soprano specialist spokesman spokesperson spokeswoman sponsor spouse squatter sre staffer stakeholder
    stepfather stepmother stepson steward stewardess stockbroker student stylist subcontractor superintendent
    supervisor surgeon surveyor survivor suspect swimmer tailor teacher technician teenager teller temp tenant tenor
    tester therapist trader trainee trainer translator treasurer trustee tutor twin tycoon umpire uncle undergraduate
    underwriter user vendor vet veteran veterinarian vicar victim villager violinist visitor volunteer vp waiter
    waitress warden whistleblower widow widower wife winner witness woman worker worshipper writer youngster youth
    """
)
"""Somebody, in the singular."""

GROUPS = _of(
    """
    academy affiliate agency airline association authority bakery band bank bar board brand brewery brigade broker
    business cafe carrier chain chamber charity choir church client clinic club coalition college committee community
    company competitor congregation consortium consultancy contractor cooperative corporation council couple court
    crew customer dealer dealership department diocese distributor division employer enterprise establishment faculty
    family farm federation firm foundation fund garage group gym hospice hospital hotel household inn institute
    institution insurer investor jury kindergarten lab laboratory lender manufacturer mosque museum newspaper ngo
    nonprofit nursery office operator orchestra order organisation organization outfit parish partner party pharmacy
    plant platoon practice prison provider pub publisher regiment restaurant retailer rival school shop society squad
    start-up startup station store studio subsidiary supermarket supplier synagogue syndicate team temple theatre
    trust union unit university vendor venture winery
    """
)
"""Several people under one name, in the singular."""

KIN = _of(
    """
    aunt boyfriend brother brother-in-law child children cousin dad daughter daughter-in-law ex-husband ex-wife family
    father father-in-law fiance fiancee girlfriend granddaughter grandfather grandmother grandson husband kid kids mom
    mother mother-in-law mum nephew niece parent parents partner sibling sister sister-in-law son son-in-law spouse
    stepdaughter stepfather stepmother stepson twin uncle wife
    """
)
UNIQUE = _of(
    """
    acting current ex first former highest-paid last lead least lone longest-serving most new newly one-time only
    previous recently single sole
    """
)
NOT_SUPERLATIVE = _of(
    """
    arrest best chest conquest contest digest earnest everest forest guest harvest honest interest invest latest
    manifest midwest modest nest northwest priest protest quest request rest southwest suggest test west
    """
)
DEFINITE = _of("the our my that this your his her their its")
INDEFINITE = _of("a an any every each some no another either all most many")
RELATIVE = _of("who whose whom that which where")
PERSONAL_RELATIVE = _of("who whose whom")
QUALIFYING = _of("with from in at of on under behind near next beside involved responsible")
STOPS = _of(
    """
    about am and are as at be because been but by can could did do does for from had has have he how i if in into is
    it must not of on or over she should so than that then they to was we were what when where which while who whom
    whose why will with would you
    """
)
PAST = _of(
    """
    became began bought broke brought built came caught chose cut dealt did drove fell flew forgave forgot fought
    found gave got grew had held hid hit hurt kept knew led left let lost made met paid put quit ran read rode said
    sat saw sent set shot slept sold spoke stole stood struck sued swore taught threw told took was went were withdrew
    won wore wrote
    """
)
NOT_PAST = _of("need feed speed indeed embed seed bed red shed weed led wed breed united hundred")
GENERIC = _of("is are can could should must may might will would wants needs has have does do gets shall")
TIMES = _of(
    """
    ago april august autumn christmas december easter february friday january july june last march monday month
    november october quarter recently saturday september spring summer sunday thursday tuesday wednesday week winter
    year yesterday
    """
)
PLACES = _of(
    """
    borough branch building campus city county court department district estate floor headquarters island lab
    neighborhood neighbourhood office parish plant precinct province region site state street town valley village ward
    warehouse
    """
)
DELICATE = _of(
    """
    abortion abuse acquitted addiction affair anonymous anonymously arrested assault bankrupt bribe cancer complaint
    confidential convicted demoted depression diagnosed disability dismissed divorce drugs drunk embezzled fired fraud
    harassed harassment hiv investigation lawsuit leaked miscarriage pregnant rehab resigned sentenced settlement sick
    stole sued suicide surgery suspended testified therapy whistleblower
    """
)
PUBLIC = _of(
    """
    album america band century championship composed country cup directed discovered elected emperor empire europe
    founded history invented king medal nation nobel novel olympic painted planet pope president prime prize queen
    revolution song starred symphony war won world wrote
    """
)
MADE_UP = _of(
    """
    acting actor actress cast castle chapter character episode fairy film hero heroine imagine joke movie novel plot
    poem scene story suppose tale villain wizard
    """
)
CODE = _of(
    """
    api argument array button class client code database element file function index integer key list method node
    process python query queue record request return row select server sql string table thread user variable
    """
)
ASKING = _of("who what which when where how why whose is are was were does do did can could")
UNDISCLOSED = _of(
    """
    code-named codename codenamed confidential embargoed in-house internal prototype secret secretly stealth
    unannounced undisclosed unpublished unreleased
    """
)
"""What an organisation knows of itself only."""

PERSON_ENDINGS = ("woman", "ologist", "ician", "iatrist", "person", "keeper", "holder", "bearer")
